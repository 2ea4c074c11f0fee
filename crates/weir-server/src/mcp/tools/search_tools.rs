use std::cmp::Reverse;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_control::calls::Offer;
use weir_control::principals::Permission;
use weir_protocol::{Error, Result};

use super::{About, Own};
use crate::mcp::caller::Caller;
use crate::mcp::{actions, listing};

const FOUND_DEFAULT: usize = 10;
const FOUND_MAX: usize = 50;

pub(super) fn tool() -> Own {
    Own::new(
        &About {
            name: "search_tools",
            title: "Find an action",
            description: "Finds actions of the company's systems by words in their names, titles and descriptions, with what each one takes. \
                Call one with call_action.",
            permission: Permission::ActionsWrite,
        },
        run,
    )
    .for_searching()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// Words, as in "send whatsapp message"; none lists the first ones.
    #[serde(default)]
    query: String,
    /// So many at most; 10 if left out.
    #[serde(default = "found_default")]
    #[schemars(range(min = 1, max = 50))]
    limit: usize,
}

fn found_default() -> usize {
    FOUND_DEFAULT
}

#[derive(Serialize, JsonSchema)]
struct Found {
    name: String,
    title: String,
    description: String,
    /// JSON Schema of its arguments.
    input_schema: Value,
    is_read_only: bool,
}

#[derive(Serialize, JsonSchema)]
struct Output {
    tools: Vec<Found>,
    /// How many there are in all.
    total: usize,
}

async fn run(caller: Caller, input: Input) -> Result<Output> {
    if !(1..=FOUND_MAX).contains(&input.limit) {
        return Err(Error::usage(format!("limit is {}", input.limit)).hint(format!("use 1 to {FOUND_MAX}")));
    }
    let offers = listing::offers(&caller).await?;
    let tools = ranked(&offers, &input.query).into_iter().filter_map(found);
    Ok(Output {
        tools: tools.take(input.limit).collect(),
        total: offers.len(),
    })
}

fn found(offer: &Offer) -> Option<Found> {
    let tool = actions::tool(offer)?;
    Some(Found {
        name: tool.name.to_string(),
        title: offer.title.clone(),
        description: tool.description.as_deref().unwrap_or_default().to_owned(),
        input_schema: Value::Object(tool.input_schema.as_ref().clone()),
        is_read_only: tool.annotations.and_then(|hints| hints.read_only_hint) == Some(true),
    })
}

/// Those in which most of the words are, the better the nearer to the name; else in their order.
fn ranked<'a>(offers: &'a [Offer], query: &str) -> Vec<&'a Offer> {
    let query = query.to_lowercase();
    let words: Vec<&str> = query
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut scored: Vec<(u32, &Offer)> = offers
        .iter()
        .map(|offer| (score(offer, &words), offer))
        .filter(|(score, _)| words.is_empty() || *score > 0)
        .collect();
    // Stable: those that are equally good stay in their order.
    scored.sort_by_key(|(score, _)| Reverse(*score));
    scored.into_iter().map(|(_, offer)| offer).collect()
}

fn score(offer: &Offer, words: &[&str]) -> u32 {
    let description = offer.description.as_deref().unwrap_or_default();
    let places = [
        (
            8,
            format!("{} {} {}", offer.connection, offer.action, offer.connector),
        ),
        (4, offer.title.clone()),
        (1, description.to_owned()),
    ];
    let places = places.map(|(weight, text)| (weight, text.to_lowercase()));
    let of_word = |word: &&str| {
        let found = places.iter().find(|(_, text)| text.contains(*word));
        found.map_or(0, |(weight, _)| *weight)
    };
    words.iter().map(of_word).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_protocol::spec::Approval;

    use super::*;

    #[test]
    fn the_best_comes_first_and_what_fits_nothing_does_not_come() {
        let offer = |connection: &str, name: &str, title: &str| {
            let spec = json!({
                "name": name, "title": title, "effect": "write", "input": { "type": "object" }, "request": { "path": "/" },
            });
            Offer::new(
                connection,
                ("c", "1.0.0"),
                Approval::Auto,
                &serde_json::from_value(spec).unwrap(),
            )
        };
        let all = [
            offer("crm", "create_lead", "Create a lead"),
            offer("mail", "send", "Send a message"),
            offer("chat", "post", "Post a message"),
        ];
        let names = |query: &str| -> Vec<&str> {
            ranked(&all, query)
                .into_iter()
                .map(|offer| offer.action.as_str())
                .collect()
        };
        assert_eq!(names("send message"), ["send", "post"]);
        assert_eq!(names("LEAD"), ["create_lead"]);
        assert_eq!(names("refund"), Vec::<&str>::new());
        assert_eq!(names(" "), ["create_lead", "send", "post"]);
    }
}

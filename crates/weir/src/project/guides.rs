//! The examples of the guides are what the program reads: each YAML block is parsed as the file that it is of.

use std::fs;
use std::path::Path;

use weir_control::policies::CaseFile;
use weir_protocol::bundle::BundleSpec;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::spec::ConnectorSpec;
use weir_protocol::{Error, Result, yaml};

use super::{ProjectFile, substitute};

/// What a connector's part is put into.
const CONNECTOR: &str = "spec: 1\nconnector: shop\nversion: 1.0.0\nname: { en: Shop }\n";

/// YAML blocks of a guide, with the line that each begins on.
fn blocks(guide: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_inside = false;
    for (number, line) in (1..).zip(guide.lines()) {
        match (is_inside, line.trim_start().starts_with("```")) {
            (false, true) if line.starts_with("```yaml") => {
                found.push((number + 1, String::new()));
                is_inside = true;
            }
            (true, true) => is_inside = false,
            (true, false) => {
                if let Some((_, text)) = found.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            (false, _) => {}
        }
    }
    found
}

/// Parses a block as the file that its first line names, or that has such a field.
fn parse(block: &str) -> Result<()> {
    let file = block.lines().next().and_then(|line| line.strip_prefix("# "));
    let folder = file
        .and_then(|file| file.split(['/', ' ']).next())
        .unwrap_or_default();
    let field = block.split(':').next().unwrap_or_default();
    let path = Path::new(file.unwrap_or("shop.yaml"));
    match (folder, field) {
        ("weir.yaml", _) | (_, "alerts" | "approvals" | "calls" | "events" | "lake" | "login") => {
            read(path, &format!("project: shop\n{block}"), ProjectFile::parse)
        }
        ("connections", _) | (_, "config" | "schedule") => {
            let is_named = block.lines().any(|line| line.starts_with("connector:"));
            let connector = if is_named { "" } else { "connector: shop\n" };
            read(path, &format!("{connector}{block}"), ConnectionSpec::parse)
        }
        ("bundles", _) => read(path, block, BundleSpec::parse),
        ("policies", _) => read(path, block, CaseFile::parse),
        ("connectors", _) | (_, "actions" | "auth" | "hook" | "reliability" | "rotation" | "streams") => {
            read(path, &format!("{CONNECTOR}{block}"), yaml::parse::<ConnectorSpec>)
        }
        // A part of an action.
        _ if block.starts_with("    ") => {
            let is_asked = block.lines().any(|line| line.starts_with("    request:"));
            let request = if is_asked {
                ""
            } else {
                "    request: { path: /x }\n"
            };
            let action =
                "actions:\n  - name: act\n    title: Act\n    effect: write\n    input: { type: object }\n";
            let text = format!("{CONNECTOR}{action}{request}{block}");
            read(path, &text, yaml::parse::<ConnectorSpec>)
        }
        _ => {
            Err(Error::spec("which file is it of?").hint("name the file in its first line, as `# weir.yaml`"))
        }
    }
}

fn read<T>(path: &Path, text: &str, parse: impl FnOnce(&Path, &str) -> Result<T>) -> Result<()> {
    let text = substitute(path, text, &|_| Some("x".to_owned()))?;
    text.parse(parse).map(drop)
}

#[test]
fn every_example_of_the_guides_is_parsed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for (line, block) in blocks(&fs::read_to_string(&path).unwrap()) {
            count += 1;
            if let Err(error) = parse(&block) {
                let name = path.file_name().unwrap_or_default().display();
                wrong.push(format!("{name}:{line}: {error}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(count > 25, "{count} examples");
}

#[test]
fn a_wrong_example_is_noticed() {
    for (wrong, why) in [
        (
            "# weir.yaml\napprovals: [{ name: small-refunds, class: auto }]\n",
            "small-refunds",
        ),
        ("# connections/a.yaml\nschedule: { tier: often }\n", "often"),
        ("hook: { strem: events }\n", "strem"),
        ("other: 1\n", "which file"),
    ] {
        let error = parse(wrong).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

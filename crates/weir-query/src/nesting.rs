//! How deep a statement's tree will be, told from its tokens. A chain such as `1 + 1 + 1` or `a OR b OR c` becomes a
//! tree as deep as it is long without any bracket that the parser would count, and what walks such a tree
//! (the guard, the planner, even its removal) would exhaust the stack.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use weir_protocol::{Error, Result};

/// What two megabytes of stack, a worker's, hold several times over.
const DEPTH_MAX: usize = 200;

/// Refuses SQL that chains too many operators or queries. SQL that has no tokens is the parser's to refuse.
pub(crate) fn check(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        return Ok(());
    };
    let depth = depth(&tokens);
    if depth <= DEPTH_MAX {
        return Ok(());
    }
    Err(Error::limit(format!(
        "the SQL chains operators or queries {depth} deep, at most {DEPTH_MAX} are read"
    ))
    .hint(
        "write IN (…) instead of many ORs, concat(…) instead of many ||, or join the values of a VALUES list",
    ))
}

/// What is open at one level of brackets.
#[derive(Default)]
struct Level {
    /// Queries and tables joined: ended by the level alone.
    queries: usize,
    /// Operators of the expression so far.
    operators: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.queries + self.operators
    }
}

fn depth(tokens: &[Token]) -> usize {
    let (mut level, mut outer) = (Level::default(), Vec::new());
    // Of the outer levels together.
    let (mut below, mut deepest) = (0, 0);
    for token in tokens {
        match part(token) {
            Part::Opens => {
                level.operators += 1;
                below += level.depth();
                outer.push(std::mem::take(&mut level));
            }
            Part::Closes => {
                if let Some(around) = outer.pop() {
                    level = around;
                    below -= level.depth();
                }
            }
            Part::Separates => level.operators = 0,
            Part::Joins => level.queries += 1,
            Part::Chains => level.operators += 1,
            Part::Other => {}
        }
        deepest = deepest.max(below + level.depth());
    }
    deepest
}

enum Part {
    Opens,
    Closes,
    /// What comes next is beside what came before, not around it.
    Separates,
    Joins,
    Chains,
    Other,
}

fn part(token: &Token) -> Part {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => Part::Opens,
        Token::RParen | Token::RBracket | Token::RBrace => Part::Closes,
        Token::Comma | Token::SemiColon => Part::Separates,
        Token::Word(word) => match word.keyword {
            Keyword::CASE => Part::Opens,
            Keyword::END => Part::Closes,
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::SELECT | Keyword::WHERE => {
                Part::Separates
            }
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS | Keyword::JOIN => {
                Part::Joins
            }
            Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::NOTNULL
            | Keyword::IN
            | Keyword::BETWEEN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::DIV
            | Keyword::OVERLAPS
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::PIVOT
            | Keyword::UNPIVOT
            | Keyword::LATERAL
            | Keyword::EXPLAIN
            | Keyword::OPERATOR => Part::Chains,
            _ => Part::Other,
        },
        Token::Whitespace(_) | Token::Period | Token::Number(..) | Token::EOF => Part::Other,
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) | Token::Placeholder(_) => Part::Other,
        // Every other sign is an operator, or rare enough to count as one.
        _ => Part::Chains,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_protocol::ErrorKind;

    use crate::guard::{SQL_BYTES_MAX, read_only};

    fn chained(begin: &str, each: &str, times: usize) -> String {
        format!("{begin}{}", each.repeat(times))
    }

    const CHAINS: &[(&str, &str)] = &[
        ("select 1", "+1"),
        ("select true", " and true"),
        ("select a from t where a = 0", " or a = 1"),
        ("select 'a'", "||'b'"),
        ("select 1", "::int"),
        ("select a", "[1]"),
        ("select a", " is distinct from b"),
        ("select a", " collate c"),
        ("select a", " at time zone 'UTC'"),
        ("select 1", " + case when true then 1 end"),
        ("select 1", " union all select 1"),
        ("select * from t", " join t using (a)"),
        ("select f(1)", " + f(1, 2)"),
        ("select a", " between 1 and 2"),
        ("", "explain "),
    ];

    #[test]
    fn a_chain_that_would_exhaust_the_stack_is_refused() {
        for (begin, each) in CHAINS {
            let times = (SQL_BYTES_MAX - begin.len()) / each.len();
            let error = read_only(&chained(begin, each, times)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{each}: {error:?}");
        }
    }

    #[test]
    fn wide_statements_and_chains_within_the_limit_pass() {
        let list: Vec<String> = (0..5_000).map(|n| format!("a + {n}")).collect();
        let cases: String = (0..2_000)
            .map(|n| format!(" when a = {n} then {n} * 2"))
            .collect();
        for sql in [
            format!("select {}", list.join(", ")),
            format!("select * from t where a in ({})", list.join(", ")),
            format!("select case{cases} else 0 end"),
            chained("select (1 + 1)", ", (1 + 1) * 2", 3_000),
            chained("select a from t where a = 0", " or a = 1", 90),
            chained("select 1", " union all select 1", 150),
        ] {
            read_only(&sql).unwrap_or_else(|error| panic!("{error:?}"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Whatever it is made of, a statement is read or refused; nothing panics, and none that writes is read.
        #[test]
        fn anything_is_read_or_refused(words in prop::collection::vec(prop::sample::select(vec![
            "select", "1", "a", "from", "t", "(", ")", ",", "+", "-", "::int", "and", "or", "not", "case", "when", "then",
            "end", "union", "all", "with", "as", "join", "on", "where", "in", "values", "insert into", "delete from", "copy",
            "explain", "into", "to", "'x'", "\"", "[", "]", ".", ";", "$1", "/*", "*/", "--", "update", "set", "for update",
        ]), 0..40), times in 1usize..50) {
            let sql = words.join(" ").repeat(times);
            if let Ok(statement) = read_only(&sql) {
                let read = statement.to_string().to_lowercase();
                let begins = ["select", "with", "values", "(", "explain", "describe", "show", "table", "from"];
                prop_assert!(begins.iter().any(|begin| read.starts_with(begin)), "{read}");
            }
        }
    }
}

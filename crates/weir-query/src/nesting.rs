//! How deep a statement's tree will be, told from its tokens. A chain such as `1 + 1 + 1` or `a OR b OR c` becomes a
//! tree as deep as it is long without any bracket that the parser would count, and what walks such a tree
//! (the guard, the planner, even its removal) would exhaust the stack.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use weir_protocol::{Error, Result};

/// What two megabytes of stack, a worker's, hold several times over.
const DEPTH_MAX: usize = 200;
/// Of words that the parser reads a second time, as names, when what follows them cannot be read: each that is open doubles
/// the time that bad SQL takes. So many cost half a second at the most.
const RETRIES_MAX: usize = 12;

/// Refuses SQL that chains too many operators or queries. SQL that has no tokens is the parser's to refuse.
pub(crate) fn check(sql: &str) -> Result<()> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        return Ok(());
    };
    let Nesting { depth, retries } = nesting(&tokens);
    if depth > DEPTH_MAX {
        return Err(Error::limit(format!(
            "the SQL chains operators or queries {depth} deep, at most {DEPTH_MAX} are read"
        ))
        .hint(
            "write IN (…) instead of many ORs, concat(…) instead of many ||, or join the values of a VALUES list",
        ));
    }
    if retries > RETRIES_MAX {
        return Err(Error::limit(format!(
            "the SQL has {retries} of CASE, CAST, INTERVAL and their like within each other, at most {RETRIES_MAX} are read"
        ))
        .hint("end each CASE with END, or compute the inner ones in a WITH query"));
    }
    Ok(())
}

/// How deep it gets.
#[derive(Default)]
struct Nesting {
    depth: usize,
    retries: usize,
}

/// What is open at one level of brackets.
#[derive(Default)]
struct Level {
    /// Queries and tables joined: ended by the level alone.
    queries: usize,
    /// Operators of the expression so far.
    operators: usize,
    /// Words that the parser may read twice, of the expression so far.
    retries: usize,
    /// Whether what opened this level was one of them.
    is_retry: bool,
}

impl Level {
    fn depth(&self) -> usize {
        self.queries + self.operators
    }
}

fn nesting(tokens: &[Token]) -> Nesting {
    let (mut level, mut outer) = (Level::default(), Vec::new());
    // Of the outer levels together.
    let mut below = Nesting::default();
    let mut deepest = Nesting::default();
    let mut is_after_retry = false;
    let tokens = tokens
        .iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    let mut tokens = tokens.peekable();
    while let Some(token) = tokens.next() {
        let is_retry = may_be_read_twice(token, tokens.peek().copied());
        level.retries += usize::from(is_retry);
        match part(token) {
            Part::Opens => {
                level.operators += 1;
                below.depth += level.depth();
                below.retries += level.retries;
                let inner = Level {
                    is_retry: is_retry || is_after_retry,
                    ..Level::default()
                };
                outer.push(std::mem::replace(&mut level, inner));
            }
            Part::Closes => {
                if let Some(around) = outer.pop() {
                    below.depth -= around.depth();
                    below.retries -= around.retries;
                    // What is read to its end is not read again.
                    let ended = usize::from(level.is_retry).min(around.retries);
                    level = around;
                    level.retries -= ended;
                }
            }
            Part::Separates => (level.operators, level.retries) = (0, 0),
            Part::Joins => level.queries += 1,
            Part::Chains => level.operators += 1,
            Part::Other => {}
        }
        deepest.depth = deepest.depth.max(below.depth + level.depth());
        deepest.retries = deepest.retries.max(below.retries + level.retries);
        is_after_retry = is_retry;
    }
    deepest
}

/// Words that begin an expression of their own and may be names as well.
fn may_be_read_twice(token: &Token, next: Option<&Token>) -> bool {
    let Token::Word(word) = token else { return false };
    match word.keyword {
        Keyword::CASE
        | Keyword::CONVERT
        | Keyword::TRY_CONVERT
        | Keyword::CAST
        | Keyword::TRY_CAST
        | Keyword::SAFE_CAST
        | Keyword::EXISTS
        | Keyword::EXTRACT
        | Keyword::CEIL
        | Keyword::FLOOR
        | Keyword::POSITION
        | Keyword::SUBSTR
        | Keyword::SUBSTRING
        | Keyword::OVERLAY
        | Keyword::TRIM
        | Keyword::INTERVAL
        | Keyword::ARRAY
        | Keyword::STRUCT
        | Keyword::MATCH
        | Keyword::PRIOR
        | Keyword::MAP
        | Keyword::LAMBDA => true,
        // As a name it would be followed by an operator.
        Keyword::NOT => matches!(next, Some(Token::Plus | Token::Minus)),
        _ => false,
    }
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

    /// The parser reads what follows each of them twice where it cannot be read: 40 of them took hours.
    #[test]
    fn words_that_double_the_time_of_bad_sql_are_bounded() {
        for each in [
            "case + ",
            "not - ",
            "interval - ",
            "cast(",
            "coalesce(cast(",
            "(case ",
            "case when a then ",
            "position(",
            "substring(",
            "array[",
            "convert(",
            "ceil(",
            "case(",
        ] {
            let error = read_only(&chained("select ", each, 40)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit, "{each}: {error:?}");
            let error = read_only(&chained("select ", each, 6)).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::Limit, "{each}: {error:?}");
        }
        for sql in [
            format!(
                "select {} 1",
                "case when not a then cast(b as int) end + ".repeat(30)
            ),
            format!("select {}a{}", "cast(trim(".repeat(5), ") as varchar)".repeat(5)),
            format!(
                "select {}a{}",
                "case when a then b else ".repeat(10),
                " end".repeat(10)
            ),
            format!(
                "select a from t where not a{}",
                " and not exists (select 1)".repeat(40)
            ),
            format!(
                "select cast(a as int){}",
                ", cast(a as int), interval '1 day'".repeat(100)
            ),
        ] {
            read_only(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
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

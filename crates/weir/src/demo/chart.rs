//! Two series by month as bars of block characters.

/// One month's two numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Month {
    /// `2025-07`
    pub(super) month: String,
    pub(super) opened: u64,
    pub(super) closed: u64,
}

const WIDTH: u64 = 44;
/// From an eighth of a block to a whole one.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

pub(super) fn draw(months: &[Month]) -> String {
    let most = months
        .iter()
        .flat_map(|month| [month.opened, month.closed])
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for month in months {
        out.push_str(&format!(
            "{}  opened {} {}\n",
            month.month,
            bar(month.opened, most),
            month.opened
        ));
        out.push_str(&format!(
            "         closed {} {}\n",
            bar(month.closed, most),
            month.closed
        ));
    }
    out
}

fn bar(value: u64, most: u64) -> String {
    let eighths = (value * WIDTH * 8).checked_div(most).unwrap_or(0);
    let mut out: String = std::iter::repeat_n('█', usize::try_from(eighths / 8).unwrap_or(0)).collect();
    if let Some(rest) = (eighths % 8)
        .checked_sub(1)
        .and_then(|rest| usize::try_from(rest).ok())
    {
        out.push(EIGHTHS[rest]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_numbers() {
        let month = |month: &str, opened, closed| Month {
            month: month.to_owned(),
            opened,
            closed,
        };
        insta::assert_snapshot!(draw(&[month("2025-01", 44, 22), month("2025-02", 1, 0)]), @"
        2025-01  opened ████████████████████████████████████████████ 44
                 closed ██████████████████████ 22
        2025-02  opened █ 1
                 closed  0
        ");
    }

    #[test]
    fn nothing_is_no_bar() {
        assert_eq!(bar(0, 0), "");
        assert_eq!(bar(1, 352), "▏");
    }
}

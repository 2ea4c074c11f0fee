//! What the demo says: headings, remarks, commands.

use std::io::IsTerminal as _;
use std::time::Instant;

use crate::output::{line, raw};

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

pub(super) struct Stage {
    colours: bool,
    steps: u32,
    begun: Instant,
}

impl Stage {
    /// Colours only where a person looks.
    pub(super) fn new(no_color: bool) -> Self {
        Self {
            colours: std::io::stdout().is_terminal() && !no_color,
            steps: 0,
            begun: Instant::now(),
        }
    }

    fn in_colour(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("{colour}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        line("");
        line(self.in_colour(BOLD, &format!("── {} · {title} ", self.steps)));
    }

    /// Why something is done, or what just happened.
    pub(super) fn remark(&self, text: &str) {
        line(text);
    }

    pub(super) fn command(&self, args: &[&str]) {
        let quoted = args.iter().map(|arg| {
            if arg.contains(' ') {
                format!("\"{arg}\"")
            } else {
                (*arg).to_owned()
            }
        });
        let shown = quoted.collect::<Vec<_>>().join(" ");
        line(self.in_colour(DIM, &format!("$ weir {shown}")));
    }

    /// A claim that was checked.
    pub(super) fn checked(&self, text: &str) {
        line(format!("{} {text}", self.in_colour(GREEN, "✓")));
    }

    pub(super) fn text(&self, text: &str) {
        raw(text);
    }

    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

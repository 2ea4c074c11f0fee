//! Ends a program's process group: when asked to, and when weir ends, in whatever way.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Signals the group as it is told, word by word. When its input ends without `done`, weir is no more:
/// then it ends the group, gently first, and removes the files. What follows the folder ends what the
/// group does not hold: a container.
const SCRIPT: &str = r#"group=$1 folder=$2
shift 2
while read -r word; do
  [ "$word" = done ] && exit 0
  kill -s "$word" -- "-$group"
done
kill -s TERM -- "-$group"
[ $# -gt 0 ] && "$@"
sleep 1
kill -s KILL -- "-$group"
rm -rf -- "$folder""#;

/// How a group is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Terminate,
    Kill,
}

/// A small shell at the other end of a pipe. Dropping this ends the group; once the program has
/// ended by itself, it is released instead.
pub(super) struct Lifeline(Option<Child>);

impl Lifeline {
    /// Without a shell there is none, and what a program starts may outlive it.
    pub(super) fn hold(group: u32, folder: &Path, also: &[String]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "weir-lifeline"])
            .arg(group.to_string())
            .arg(folder)
            .args(also)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        apart(&mut command);
        match command.spawn() {
            Ok(child) => Self(Some(child)),
            Err(error) => {
                tracing::warn!(%error, "no shell; what a program starts may outlive it");
                Self(None)
            }
        }
    }

    pub(super) fn signal(&mut self, wish: Wish) {
        self.say(match wish {
            Wish::Terminate => "TERM",
            Wish::Kill => "KILL",
        });
    }

    /// The program has ended: there is nothing more to do.
    pub(super) fn release(mut self) {
        self.say("done");
        let Some(mut child) = self.0.take() else {
            return;
        };
        drop(child.stdin.take());
        // It exits at that word; waiting leaves no zombie.
        if let Err(error) = child.wait() {
            tracing::debug!(%error, "the lifeline's end was not seen");
        }
    }

    fn say(&mut self, word: &str) {
        let input = self.0.as_mut().and_then(|child| child.stdin.as_mut());
        if let Some(input) = input
            && let Err(error) = writeln!(input, "{word}")
        {
            tracing::debug!(%error, word, "the lifeline is no more");
        }
    }
}

#[cfg(test)]
impl Lifeline {
    /// Closes the pipe, as when weir is killed, and waits for what follows.
    pub(super) fn let_go(mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}

/// Keeps what the terminal sends to weir from reaching it.
#[cfg(unix)]
fn apart(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;

    command.process_group(0);
}

#[cfg(not(unix))]
fn apart(_command: &mut Command) {}

/// Whether a process of that id exists, as far as the system tells.
pub(super) fn is_alive(process: u32) -> bool {
    let processes = Path::new("/proc");
    !processes.join("self").exists() || processes.join(process.to_string()).exists()
}

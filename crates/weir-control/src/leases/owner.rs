//! Who holds a lease, and whether that process still lives.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A process, described so that another one can judge whether it still runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub host: String,
    pub pid: u32,
    /// The same for all processes that see each other's pids; empty where that is not known.
    pub machine: String,
    /// Tells a process from a later one with the same pid; empty where that is not known.
    pub process_start: String,
}

impl Owner {
    pub fn this_process() -> Self {
        let pid = std::process::id();
        Self {
            host: line(Path::new("/proc/sys/kernel/hostname")).unwrap_or_else(|| "this host".to_owned()),
            pid,
            machine: machine().unwrap_or_default(),
            process_start: process_start(pid).unwrap_or_default(),
        }
    }

    /// Whether the process is known to be gone. False where nobody can tell from here.
    pub(crate) fn is_dead(&self) -> bool {
        let Some(here) = machine() else { return false };
        if self.machine.is_empty() || self.machine != here || self.process_start.is_empty() {
            return false;
        }
        process_start(self.pid).is_none_or(|start| start != self.process_start)
    }
}

/// Boot and pid namespace: only where both are equal, pids mean the same.
fn machine() -> Option<String> {
    let boot = line(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{boot} {}", namespace.display()))
}

/// Ticks from boot to the process's start: the 22nd field of its stat line. None once it is a zombie
/// or gone. The second field is the program's name in parentheses and may hold anything.
fn process_start(pid: u32) -> Option<String> {
    let stat = line(Path::new(&format!("/proc/{pid}/stat")))?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let status = fields.next()?;
    if matches!(status, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(ToOwned::to_owned)
}

fn line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives() {
        assert!(!Owner::this_process().is_dead());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_that_ended_is_dead_and_a_reused_pid_too() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner {
            pid: child.id(),
            process_start: process_start(child.id()).unwrap(),
            ..Owner::this_process()
        };
        assert!(!owner.is_dead());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.is_dead());
        let reused = Owner {
            process_start: "1".to_owned(),
            ..Owner::this_process()
        };
        assert!(reused.is_dead());
    }

    #[test]
    fn nobody_judges_another_machine() {
        let far = Owner {
            machine: "other".to_owned(),
            pid: 1,
            ..Owner::this_process()
        };
        assert!(!far.is_dead());
    }
}

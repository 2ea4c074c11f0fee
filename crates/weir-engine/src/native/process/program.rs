//! How a program is started: its words, its environment, its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{ChildStdin, Command};
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Result, Secret};

use super::lifeline::Lifeline;
use super::running::Parts;
use super::{PrivateFolder, ProcessSettings, Running, SharedRedactor, suspected};
use crate::EngineSettings;

/// Longest line that a program may write.
const LINE_BYTES_MAX: usize = 32 << 20;
/// Where a container finds the files.
const MOUNT: &str = "/weir";
/// What runs containers, in the order it is looked for.
const RUNTIMES: [&str; 2] = ["docker", "podman"];

/// One word of a program's arguments.
#[derive(Debug, Clone, Copy)]
pub(in crate::native) enum Argument<'a> {
    Word(&'a str),
    /// The path of a file in the private folder, as the program sees it.
    File(&'a str),
}

#[derive(Debug, Clone)]
enum How {
    Command(Vec<String>),
    Image { runtime: String, image: String },
}

/// A program that a connection names.
pub(in crate::native) struct Program {
    how: How,
    /// The whole environment that it gets.
    env: BTreeMap<String, String>,
    /// Names of those that the connection sets.
    own: Vec<String>,
    silence: Duration,
    line_bytes_max: usize,
    redactor: SharedRedactor,
}

impl Program {
    pub(in crate::native) fn new(
        given: &ProcessSettings,
        connection: &ConnectionSpec,
        engine: &EngineSettings,
    ) -> Result<Self> {
        let mut env = engine.process_env.clone();
        env.extend(given.env.clone());
        let how = match &given.image {
            Some(image) => How::Image {
                runtime: runtime(&env, image)?,
                image: image.clone(),
            },
            None => How::Command(given.command.clone()),
        };
        let settings = serde_json::Value::Object(given.settings.clone());
        let suspected = suspected(&settings, &connection.variables, &given.env);
        Ok(Self {
            how,
            env,
            own: given.env.keys().cloned().collect(),
            silence: given.silence(),
            line_bytes_max: LINE_BYTES_MAX,
            redactor: SharedRedactor::new(suspected),
        })
    }

    /// The same where a line may not be as long as those of records.
    pub(in crate::native) fn with_lines_of(mut self, line_bytes_max: usize) -> Self {
        self.line_bytes_max = line_bytes_max;
        self
    }

    #[cfg(test)]
    pub(super) fn with_limits(mut self, silence: Duration, line_bytes_max: usize) -> Self {
        (self.silence, self.line_bytes_max) = (silence, line_bytes_max);
        self
    }

    /// Adds values that are blotted out of whatever the program says from now on.
    pub(in crate::native) fn hide(&self, secrets: impl IntoIterator<Item = Secret>) {
        self.redactor.hide(secrets);
    }

    pub(in crate::native) fn redactor(&self) -> &SharedRedactor {
        &self.redactor
    }

    pub(in crate::native) fn folder(&self) -> Result<PrivateFolder> {
        PrivateFolder::new(matches!(self.how, How::Image { .. }))
    }

    /// What messages call it.
    pub(in crate::native) fn name(&self) -> &str {
        match &self.how {
            How::Command(words) => words.first().map(String::as_str).unwrap_or_default(),
            How::Image { image, .. } => image,
        }
    }

    /// Starts it with these arguments. The folder lives as long as the program.
    pub(in crate::native) fn start(
        &self,
        folder: PrivateFolder,
        arguments: &[Argument<'_>],
    ) -> Result<Running> {
        let (running, _) = self.run(folder, arguments, Stdio::null())?;
        Ok(running)
    }

    /// Starts it without arguments, to be spoken to by its standard input.
    pub(in crate::native) fn converse(&self, folder: PrivateFolder) -> Result<(Running, ChildStdin)> {
        let (running, input) = self.run(folder, &[], Stdio::piped())?;
        let input = input.ok_or_else(|| self.gone())?;
        Ok((running, input))
    }

    fn run(
        &self,
        folder: PrivateFolder,
        arguments: &[Argument<'_>],
        input: Stdio,
    ) -> Result<(Running, Option<ChildStdin>)> {
        let container = format!("weir-{}", uuid::Uuid::new_v4().simple());
        let (words, also) = self.words(&folder, arguments, &container);
        let (program, rest) = words
            .split_first()
            .ok_or_else(|| Error::spec("command is empty").hint("write command: [program, argument]"))?;
        let mut command = Command::new(program);
        command
            .args(rest)
            .env_clear()
            .envs(&self.env)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| not_started(program, error))?;
        let group = child.id().unwrap_or_default();
        if group == 0 {
            return Err(self.gone());
        }
        let input = child.stdin.take();
        let lifeline = Lifeline::hold(group, folder.root(), &also);
        let running = Running::new(Parts {
            name: self.name().to_owned(),
            child,
            also,
            lifeline,
            folder,
            silence: self.silence,
            line_bytes_max: self.line_bytes_max,
            redactor: self.redactor.clone(),
        })?;
        Ok((running, input))
    }

    /// The words to run, and those that end what a signal does not reach.
    fn words(
        &self,
        folder: &PrivateFolder,
        arguments: &[Argument<'_>],
        container: &str,
    ) -> (Vec<String>, Vec<String>) {
        let inner = folder.inner();
        let (mut words, also, files) = match &self.how {
            How::Command(words) => (words.clone(), Vec::new(), inner.as_path()),
            How::Image { runtime, image } => {
                let mount = format!("{}:{MOUNT}:ro", inner.display());
                let mut words: Vec<String> = [runtime, "run", "--rm", "--name", container, "-v", &mount]
                    .map(str::to_owned)
                    .to_vec();
                for name in &self.own {
                    // By name only: the value stays out of the list of processes.
                    words.extend(["-e".to_owned(), name.clone()]);
                }
                words.push(image.clone());
                let also = [runtime, "kill", container].map(str::to_owned).to_vec();
                (words, also, Path::new(MOUNT))
            }
        };
        words.extend(arguments.iter().map(|argument| match argument {
            Argument::Word(word) => (*word).to_owned(),
            Argument::File(name) => files.join(name).display().to_string(),
        }));
        (words, also)
    }

    fn gone(&self) -> Error {
        Error::unavailable(format!("'{}' ended before it could be listened to", self.name()))
            .hint("run it by hand to see what it says")
    }
}

/// The first container runtime on the path that the program would get.
fn runtime(env: &BTreeMap<String, String>, image: &str) -> Result<String> {
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    let folders = || std::env::split_paths(path);
    RUNTIMES
        .into_iter()
        .find(|name| folders().any(|folder| folder.join(name).is_file()))
        .map(str::to_owned)
        .ok_or_else(|| {
            Error::spec("config.image needs docker or podman, and neither is on the PATH")
                .with("image", image)
                .hint("install one of them, or install the program itself and name it by command:")
        })
}

fn not_started(program: &str, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "install it, or write its whole path; a relative path begins at the folder weir runs in"
        }
        std::io::ErrorKind::PermissionDenied => "make it executable, as with chmod +x",
        _ => "run it by hand to see what is wrong",
    };
    Error::spec(format!("the program '{program}' cannot be started"))
        .caused_by(error)
        .hint(hint)
}

//! An IMAP server in memory, whose faults a test decides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(super) struct Folder {
    pub(super) validity: u32,
    pub(super) next: u32,
    pub(super) messages: Vec<(u32, Vec<u8>)>,
    pub(super) attributes: &'static str,
}

impl Folder {
    pub(super) fn new(validity: u32) -> Self {
        Self {
            validity,
            next: 1,
            messages: Vec::new(),
            attributes: "\\HasNoChildren",
        }
    }

    pub(super) fn put(&mut self, message: impl Into<Vec<u8>>) {
        self.messages.push((self.next, message.into()));
        self.next += 1;
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) folders: Mutex<BTreeMap<String, Folder>>,
    /// Messages given before the connection is broken off, once; 0: never.
    pub(super) cut_after: AtomicUsize,
    /// The command to which nothing is answered.
    pub(super) hangs_at: Mutex<Option<&'static str>>,
    /// The command that is refused.
    pub(super) refuses_at: Mutex<Option<&'static str>>,
    pub(super) logins: AtomicUsize,
    /// What was asked, without tags.
    pub(super) asked: Mutex<Vec<String>>,
}

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) state: Arc<State>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { port, state }
    }

    pub(super) fn folder(&self, name: &str, change: impl FnOnce(&mut Folder)) {
        let mut folders = self.state.folders.lock().unwrap();
        change(folders.entry(name.to_owned()).or_insert_with(|| Folder::new(7)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut opened = String::new();
    write.write_all(b"* OK ready\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let (tag, command) = line.split_once(' ').unwrap_or((&line, ""));
        state.asked.lock().unwrap().push(command.to_owned());
        if state
            .hangs_at
            .lock()
            .unwrap()
            .is_some_and(|at| command.starts_with(at))
        {
            std::future::pending::<()>().await;
        }
        if state
            .refuses_at
            .lock()
            .unwrap()
            .is_some_and(|at| command.starts_with(at))
        {
            write
                .write_all(format!("{tag} NO not now\r\n").as_bytes())
                .await?;
            continue;
        }
        if answer(&state, &mut write, tag, command, &mut opened)
            .await?
            .is_none()
        {
            break;
        }
    }
    Ok(())
}

/// What is told of folders; None where the command is about something else.
fn of_folders(state: &State, command: &str, quoted: &[&str], opened: &mut String) -> Option<String> {
    let folders = state.folders.lock().unwrap();
    if command.starts_with("LIST") {
        let line = |(name, folder): (&String, &Folder)| {
            format!("* LIST ({}) \"/\" \"{name}\"\r\n", folder.attributes)
        };
        return Some(folders.iter().map(line).collect());
    }
    let is_opened = command.starts_with("EXAMINE");
    if !is_opened && !command.starts_with("STATUS") {
        return None;
    }
    let folder = &folders[quoted[0]];
    let (count, validity, next) = (folder.messages.len(), folder.validity, folder.next);
    if !is_opened {
        let name = quoted[0];
        return Some(format!(
            "* STATUS \"{name}\" (MESSAGES {count} UNSEEN 0 UIDVALIDITY {validity} UIDNEXT {next})\r\n"
        ));
    }
    quoted[0].clone_into(opened);
    Some(format!(
        "* FLAGS (\\Seen)\r\n* {count} EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY {validity}] so\r\n* OK [UIDNEXT {next}] so\r\n"
    ))
}

/// None: the connection is broken off.
async fn answer(
    state: &State,
    write: &mut OwnedWriteHalf,
    tag: &str,
    command: &str,
    opened: &mut String,
) -> std::io::Result<Option<()>> {
    let quoted: Vec<&str> = command.split('"').skip(1).step_by(2).collect();
    let mut told = Vec::new();
    if command == "STARTTLS" {
        write
            .write_all(format!("{tag} BAD not known\r\n").as_bytes())
            .await?;
        return Ok(Some(()));
    }
    if command.starts_with("LOGIN") {
        state.logins.fetch_add(1, Ordering::SeqCst);
        if quoted.get(1) != Some(&"secret") {
            let no = format!("{tag} NO [AUTHENTICATIONFAILED] not known\r\n");
            write.write_all(no.as_bytes()).await?;
            return Ok(Some(()));
        }
    } else if let Some(text) = of_folders(state, command, &quoted, opened) {
        told.extend(text.bytes());
    } else if let Some(query) = command.strip_prefix("UID SEARCH ") {
        let folders = state.folders.lock().unwrap();
        let fits = |uid: u32, raw: &[u8]| match query.strip_prefix("UID ") {
            Some(set) => is_in(set, uid),
            None => String::from_utf8_lossy(raw).contains(quoted[0]),
        };
        told.extend(b"* SEARCH");
        for (uid, raw) in &folders[opened.as_str()].messages {
            if fits(*uid, raw) {
                told.extend(format!(" {uid}").bytes());
            }
        }
        told.extend(b"\r\n");
    } else if let Some(rest) = command.strip_prefix("UID FETCH ") {
        let messages = state.folders.lock().unwrap()[opened.as_str()].messages.clone();
        let set = rest.split(' ').next().unwrap();
        for (index, (uid, raw)) in messages
            .iter()
            .enumerate()
            .filter(|(_, (uid, _))| is_in(set, *uid))
        {
            let fetched = fetched(rest, index + 1, *uid, raw);
            write.write_all(&fetched).await?;
            if rest.contains("BODY")
                && state.cut_after.load(Ordering::SeqCst) > 0
                && state.cut_after.fetch_sub(1, Ordering::SeqCst) == 1
            {
                return Ok(None);
            }
        }
    }
    told.extend(format!("{tag} OK done\r\n").bytes());
    write.write_all(&told).await?;
    Ok(Some(()))
}

fn fetched(asked: &str, sequence: usize, uid: u32, raw: &[u8]) -> Vec<u8> {
    if !asked.contains("BODY") {
        return format!(
            "* {sequence} FETCH (UID {uid} FLAGS (\\Seen \\Recent work) INTERNALDATE \"22-Nov-2026 10:00:00 +0200\" RFC822.SIZE {})\r\n",
            raw.len()
        )
        .into_bytes();
    }
    let (section, bytes) = if asked.contains("HEADER") {
        let end = raw
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .map_or(raw.len(), |at| at + 4);
        ("BODY[HEADER]", &raw[..end])
    } else {
        ("BODY[]", raw)
    };
    let mut told = format!("* {sequence} FETCH (UID {uid} {section} {{{}}}\r\n", bytes.len()).into_bytes();
    told.extend(bytes);
    told.extend(b")\r\n");
    told
}

fn is_in(set: &str, uid: u32) -> bool {
    set.split(',').any(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u32>().unwrap();
        (number(first)..=number(last)).contains(&uid)
    })
}

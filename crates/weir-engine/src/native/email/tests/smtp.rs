//! An SMTP server, whose mood a test decides.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    /// Answers this to the command that begins with the word; `.` is the end of the message.
    Says(&'static str, &'static str),
    /// Takes the command and breaks off without an answer.
    Breaks(&'static str),
    /// Takes the command and never answers.
    Hangs(&'static str),
}

#[derive(Default)]
pub(super) struct Taken {
    pub(super) recipients: Vec<String>,
    pub(super) messages: Vec<String>,
    pub(super) connections: usize,
}

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) taken: Arc<Mutex<Taken>>,
    mood: Arc<Mutex<Mood>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, mood) = (Arc::<Mutex<Taken>>::default(), Arc::new(Mutex::new(Mood::Fine)));
        let shared = (taken.clone(), mood.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.0.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, shared.0.clone(), shared.1.clone()));
            }
        });
        Self { port, taken, mood }
    }

    pub(super) fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

async fn serve(stream: TcpStream, taken: Arc<Mutex<Taken>>, mood: Arc<Mutex<Mood>>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut message: Option<String> = None;
    write.write_all(b"220 mail.test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        if let Some(text) = &mut message
            && line != "."
        {
            text.push_str(&line);
            text.push('\n');
            continue;
        }
        if let Some(text) = message.take() {
            taken.lock().unwrap().messages.push(text);
        }
        let now = *mood.lock().unwrap();
        let is_it = |word: &str| line.to_ascii_uppercase().starts_with(word);
        let said = match now {
            Mood::Says(word, answer) if is_it(word) => answer,
            Mood::Breaks(word) if is_it(word) => return Ok(()),
            Mood::Hangs(word) if is_it(word) => std::future::pending().await,
            _ if is_it("EHLO") => "250-mail.test\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 8BITMIME",
            _ if is_it("AUTH") => "235 in",
            _ if is_it("DATA") => "354 go on",
            _ if line == "." => "250 2.0.0 queued as 1",
            _ if is_it("QUIT") => "221 bye",
            _ => "250 so",
        };
        if is_it("RCPT") && said.starts_with('2') {
            taken.lock().unwrap().recipients.push(line.clone());
        }
        if is_it("DATA") && said.starts_with('3') {
            message = Some(String::new());
        }
        write.write_all(format!("{said}\r\n").as_bytes()).await?;
    }
    Ok(())
}

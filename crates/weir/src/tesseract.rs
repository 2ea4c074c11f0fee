//! Text from pictures by the programs `tesseract` and `pdftoppm`, where they are installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_documents::{Format, Ocr, OcrPage, tsv_page};
use weir_protocol::{Error, Result};

use crate::config::variable;

/// Languages that are recognised where they are installed; both at once.
const LANGUAGES: [&str; 2] = ["eng", ARABIC];
const ARABIC: &str = "ara";
/// Pixels of a page's longer side: 220 dots an inch of A4.
const PIXELS: &str = "2600";
/// Pages that are not recognised by then stay unread: the call is given up a little later.
const RECOGNITION_MAX: Duration = Duration::from_secs(150);
/// Characters of what a program said, in an error.
const SAID_CHARS_MAX: usize = 300;

/// The programs, as far as they were found.
pub(crate) struct Tesseract {
    tesseract: Option<PathBuf>,
    pdftoppm: Option<PathBuf>,
    languages: String,
    /// Where pages are kept meanwhile: whoever started this process removes it, however this ends.
    folder: PathBuf,
}

impl Tesseract {
    /// Looks for the programs on the path. Pages are kept in the folder meanwhile.
    pub(crate) fn found(folder: &Path) -> Self {
        let path = variable("PATH").unwrap_or_default();
        let program = |name: &str| {
            std::env::split_paths(&path)
                .map(|folder| folder.join(name))
                .find(|file| file.is_file())
        };
        let tesseract = program("tesseract");
        Self {
            languages: tesseract.as_deref().map(languages).unwrap_or_default(),
            tesseract,
            pdftoppm: program("pdftoppm"),
            folder: folder.to_owned(),
        }
    }

    fn picture(&self, folder: &Path, file: &Path, page: u32) -> Result<PathBuf> {
        let Some(program) = &self.pdftoppm else {
            return Err(Error::usage(
                "the document has pages that are pictures, and pdftoppm is not installed",
            )
            .hint("install poppler-utils where weir runs, or give the pages as PNG or JPEG"));
        };
        let stem = folder.join("page");
        let number = page.to_string();
        let mut command = Command::new(program);
        command.args([
            "-f",
            &number,
            "-l",
            &number,
            "-scale-to",
            PIXELS,
            "-gray",
            "-png",
            "-singlefile",
        ]);
        said(command.arg(file).arg(&stem), "pdftoppm")?;
        Ok(stem.with_extension("png"))
    }

    fn recognised(&self, picture: &Path, page: u32) -> Result<OcrPage> {
        let table = self.table(picture, &self.languages)?;
        refuse_several(&table)?;
        // Two languages at once make Latin letters of Arabic ones: a page that is Arabic is looked at again as such.
        let table = if is_arabic(&table) && self.languages.contains('+') {
            self.table(picture, ARABIC)?
        } else {
            table
        };
        Ok(tsv_page(page, &table))
    }

    fn table(&self, picture: &Path, languages: &str) -> Result<String> {
        let Some(program) = &self.tesseract else {
            return Ok(String::new());
        };
        let mut command = Command::new(program);
        // One thread: several pages and documents are read side by side already.
        command
            .arg(picture)
            .args(["stdout", "-l", languages, "tsv"])
            .env("OMP_THREAD_LIMIT", "1");
        Ok(String::from_utf8_lossy(&said(&mut command, "tesseract")?).into_owned())
    }
}

impl Ocr for Tesseract {
    fn is_there(&self) -> bool {
        self.tesseract.is_some() && !self.languages.is_empty()
    }

    fn pages(&self, file: &[u8], format: Format, pages: &[u32]) -> Result<Vec<OcrPage>> {
        let kept = |error: std::io::Error| {
            Error::internal("a page cannot be kept for its recognition")
                .caused_by(error)
                .hint("make room in the folder for temporary files, or set TMPDIR")
        };
        let folder = tempfile::tempdir_in(&self.folder).map_err(kept)?;
        let whole = folder.path().join("document");
        std::fs::write(&whole, file).map_err(kept)?;
        let began = Instant::now();
        let (mut found, mut failure) = (Vec::new(), None);
        for page in pages {
            if began.elapsed() >= RECOGNITION_MAX {
                break;
            }
            let picture = match format {
                Format::Pdf => self.picture(folder.path(), &whole, *page),
                _ => Ok(whole.clone()),
            };
            // A page that cannot be recognised stays unread; the others count.
            match picture.and_then(|picture| self.recognised(&picture, *page)) {
                Ok(page) => found.push(page),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}

/// A TIFF may hold several pages, which would all be taken for the first.
fn refuse_several(table: &str) -> Result<()> {
    let mut pages = table.lines().skip(1).filter_map(|row| row.split('\t').nth(1));
    if pages.all(|page| page == "1") {
        return Ok(());
    }
    Err(Error::usage("the picture has several pages")
        .hint("give it as a PDF, or each page as a picture of its own"))
}

/// Whether most letters are Arabic.
fn is_arabic(table: &str) -> bool {
    let arabic = table
        .chars()
        .filter(|char| matches!(char, '\u{620}'..='\u{64a}'))
        .count();
    let latin = table.chars().filter(char::is_ascii_alphabetic).count();
    arabic > latin
}

/// Those of [`LANGUAGES`] that are installed, as tesseract takes them.
fn languages(program: &Path) -> String {
    let listed = Command::new(program)
        .arg("--list-langs")
        .stdin(Stdio::null())
        .output();
    let listed = listed
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let is_there = |language: &str| listed.lines().any(|line| line.trim() == language);
    LANGUAGES
        .iter()
        .filter(|language| is_there(language))
        .copied()
        .collect::<Vec<_>>()
        .join("+")
}

/// What a program printed; an end that is not a success is an error.
fn said(command: &mut Command, name: &'static str) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Error::unavailable(format!("{name} cannot be started"))
            .caused_by(error)
            .hint("install it anew")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let told: String = String::from_utf8_lossy(&output.stderr)
        .chars()
        .take(SAID_CHARS_MAX)
        .collect();
    Err(Error::usage(format!("{name} cannot read a page of the document"))
        .with("said", told.trim())
        .hint("print the document to a new PDF, or give its pages as PNG"))
}

//! Where lines go: a thread writes them, to standard output or to a file that rotates.

use std::{
    io,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing_appender::{
    non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard},
    rolling::{InitError, RollingFileAppender, Rotation},
};

/// Lines that wait for the writer; more are dropped and counted.
const MAX_QUEUED: usize = 16_384;
/// A file for each day, so many of them.
const MAX_FILES: usize = 14;

/// Writes what is on its way when dropped, for at most a second.
#[derive(Debug)]
#[must_use = "dropping it ends the log"]
pub struct LogGuard(#[expect(dead_code, reason = "it works by being dropped")] WorkerGuard);

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that the file system refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Lines that were lost since the start: the writer was too slow, or could not write them.
pub(super) fn lost() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(dropped).unwrap_or(u64::MAX) + REFUSED.load(Ordering::Relaxed)
}

/// Opens the file, or standard output if there is none or it cannot be opened; the latter is told as well.
pub(super) fn open(file: Option<&str>) -> (NonBlocking, LogGuard, Option<InitError>) {
    let (file, trouble) = match file.map(|file| rolling(Path::new(file))).transpose() {
        Ok(file) => (file, None),
        Err(error) => (None, Some(error)),
    };
    let builder = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED)
        .thread_name("log");
    let (writer, guard) = match file {
        Some(file) => builder.finish(Counted(file)),
        None => builder.finish(Counted(io::stdout())),
    };
    let _ = DROPPED.set(writer.error_counter());
    (writer, LogGuard(guard), trouble)
}

fn rolling(file: &Path) -> Result<RollingFileAppender, InitError> {
    let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
    let extension = file.extension().map_or("log".into(), |end| end.to_string_lossy());
    let folder = file.parent().unwrap_or(Path::new("."));
    // Opening tells of what fails here.
    let _ = std::fs::create_dir_all(folder);
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(name)
        .filename_suffix(extension)
        .max_log_files(MAX_FILES)
        .build(folder)
}

/// Counts what cannot be written, and carries on: a full disk may have room again for the next line.
struct Counted<W>(W);

impl<W: io::Write> io::Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What could not be written has been counted.
        let _ = self.0.flush();
        Ok(())
    }
}

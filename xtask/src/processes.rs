//! What the kernel says of processes that are no children of this one.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Processes whose environment has this variable, be they of this name or of any.
pub(crate) fn with_variable(variable: &str, name: Option<&str>) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let processes = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let marked = processes.filter(|process| {
        let environment = fs::read(of(*process, "environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == variable.as_bytes())
    });
    marked
        .filter(|process| name.is_none_or(|name| name_of(*process) == name))
        .collect()
}

pub(crate) fn name_of(process: i32) -> String {
    let name = fs::read_to_string(of(process, "comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// As a person would type it.
pub(crate) fn command_of(process: i32) -> String {
    let words = fs::read(of(process, "cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

pub(crate) fn parent_of(process: i32) -> Option<i32> {
    field(process, 1)
}

pub(crate) fn group_of(process: i32) -> Option<i32> {
    field(process, 2)
}

/// One that has ended and that nobody has waited for does not run.
pub(crate) fn runs(process: i32) -> bool {
    let stat = fs::read_to_string(of(process, "stat")).unwrap_or_default();
    after_name(&stat, 0).is_some_and(|state| state != "Z" && state != "X")
}

fn field(process: i32, index: usize) -> Option<i32> {
    let stat = fs::read_to_string(of(process, "stat")).ok()?;
    after_name(&stat, index)?.parse().ok()
}

/// Names may have spaces and brackets: what counts begins behind the last of these.
fn after_name(stat: &str, index: usize) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(index)
}

fn of(process: i32, file: &str) -> PathBuf {
    Path::new("/proc").join(process.to_string()).join(file)
}

#[cfg(test)]
mod tests {
    use super::{after_name, group_of, parent_of, runs, with_variable};
    use std::{
        process::Command,
        thread,
        time::{Duration, Instant},
    };

    #[test]
    fn a_name_may_look_like_the_fields_behind_it() {
        let stat = "42 (a) R 1 (b) S 7 8 9";
        assert_eq!(after_name(stat, 0), Some("S"));
        assert_eq!(after_name(stat, 1), Some("7"));
    }

    #[test]
    fn a_process_is_found_by_its_environment_until_it_has_ended() {
        let mark = format!("XTASK_TEST_MARK={}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        let mut child = Command::new("sleep").arg("600").env(name, value).spawn().unwrap();
        let process = i32::try_from(child.id()).unwrap();
        // A child that was started by vfork lets its parent go on before the kernel has put its environment in place.
        let deadline = Instant::now() + Duration::from_secs(10);
        while with_variable(&mark, Some("sleep")) != [process] {
            assert!(Instant::now() < deadline, "not found");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(with_variable(&mark, Some("other")).is_empty() && runs(process));
        assert_eq!(parent_of(process), i32::try_from(std::process::id()).ok());
        assert_eq!(group_of(process), group_of(i32::try_from(std::process::id()).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(with_variable(&mark, None).is_empty() && !runs(process));
    }
}

//! What was said of the migrations of a deployment, handed to the Job that applies them.

/// The variable of `make deploy`, and the Job's.
const SAID: [(&str, &str); 4] = [
    ("MIGRATE_REVIEWED", "MAPLE_MIGRATE_REVIEWED"),
    ("MIGRATE_BY", "MAPLE_MIGRATE_BY"),
    ("MIGRATE_OUTSIDE_WINDOW", "MAPLE_MIGRATE_OUTSIDE_WINDOW"),
    ("MIGRATE_BACKUP", "MAPLE_MIGRATE_BACKUP"),
];

/// The manifests with each value in its place. What was not said stays empty.
pub(super) fn handed_over(manifests: &str, said: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::with_capacity(manifests.len());
    let mut value: Option<String> = None;
    for line in manifests.split_inclusive('\n') {
        let content = line.trim();
        match value.take() {
            Some(value) if content == "value: \"\"" => {
                let indent = &line[..line.len() - line.trim_start().len()];
                // A text of JSON is one of YAML.
                text.extend([indent, "value: ", &serde_json::Value::from(value).to_string(), "\n"]);
            }
            _ => text.push_str(line),
        }
        let name = content.strip_prefix("- name: ").unwrap_or_default();
        if let Some((variable, _)) = SAID.iter().find(|(_, job)| *job == name) {
            value = said(variable);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::handed_over;

    #[test]
    fn what_was_said_is_in_the_job_and_nowhere_else() {
        let text = "env:\n  - name: MAPLE_MIGRATE_BY\n    value: \"\"\n  - name: MAPLE_MIGRATE_BACKUP\n    value: \"\"\n  - name: OTHER\n    value: \"\"\n";
        let said = |name: &str| (name == "MIGRATE_BACKUP").then(|| "{\"label\": \"a: b\"}\n# x".to_owned());
        assert_eq!(
            handed_over(text, said),
            text.replacen(
                "BACKUP\n    value: \"\"",
                "BACKUP\n    value: \"{\\\"label\\\": \\\"a: b\\\"}\\n# x\"",
                1
            )
        );
        assert_eq!(handed_over(text, |_| None), text);
    }
}

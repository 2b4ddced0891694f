//! What the person who started MapleAI is told of it.

use std::time::Duration;

use super::Around;
use crate::{error::TaskError, say};

const ASK_TIMEOUT: Duration = Duration::from_secs(30);

impl Around<'_> {
    pub(super) fn announce(&self) -> Result<(), TaskError> {
        let lines = if self.environment == "development" {
            let ask = |command| self.jobs.output(&mut self.mapleai(command), ASK_TIMEOUT);
            let seeded = ask("seed")?;
            let account = seeded.lines().find(|line| line.starts_with("demo@"));
            let found = ask("local-servers")?;
            development(
                self.port,
                account.unwrap_or_default(),
                self.model.is_wanted(),
                found.lines(),
            )
        } else {
            Vec::new()
        };
        say(&format!("\n  MapleAI is ready:  http://localhost:{}", self.port));
        for line in lines {
            say(&line);
        }
        say("  Stop with Ctrl-C\n");
        Ok(())
    }
}

fn development<'l>(port: u16, account: &str, has_model: bool, found: impl Iterator<Item = &'l str>) -> Vec<String> {
    let small = if has_model { "smollm2-135m, " } else { "" };
    let mut lines = vec![
        format!("  Sign in with:      {account}"),
        format!(
            "  API for programs:  http://localhost:{port}/v1 (make a key under \"API keys\"; models: {small}maple-dev, maple-dev-embed)"
        ),
    ];
    lines.extend(found.map(|server| format!("  Also found:        {server}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::development;

    #[test]
    fn each_model_server_of_the_person_has_a_line() {
        let lines = development(3000, "demo@maple.example / x", true, ["Ollama", "vLLM"].into_iter());
        assert_eq!(lines[0], "  Sign in with:      demo@maple.example / x");
        assert!(lines[1].contains("http://localhost:3000/v1") && lines[1].contains("models: smollm2-135m, maple-dev"));
        assert_eq!(lines[2..], ["  Also found:        Ollama", "  Also found:        vLLM"]);
    }
}

//! A Redis that answers and takes no writes, as real ones come to be, and take them again.

use std::fs;

use super::{Redis, eventually};

#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// It copies another server.
    IsReplica,
    /// It has no memory left, and may evict nothing.
    IsFull,
    /// Fewer servers copy it than are asked for.
    LacksReplicas,
    /// Its last save failed (`stop-writes-on-bgsave-error`).
    CannotSave,
}

impl Refusal {
    pub const ALL: [Self; 4] = [Self::IsReplica, Self::IsFull, Self::LacksReplicas, Self::CannotSave];

    /// What a write is answered with.
    pub fn word(self) -> &'static str {
        match self {
            Self::IsReplica => "READONLY",
            Self::IsFull => "OOM",
            Self::LacksReplicas => "NOREPLICAS",
            Self::CannotSave => "MISCONF",
        }
    }
}

impl Redis {
    pub async fn refuse_writes(&self, refusal: Refusal) {
        match refusal {
            Refusal::IsReplica => _ = self.run(&["replicaof", "127.0.0.1", "1"]),
            Refusal::IsFull => _ = self.run(&["config", "set", "maxmemory", "1"]),
            Refusal::LacksReplicas => _ = self.run(&["config", "set", "min-replicas-to-write", "1"]),
            Refusal::CannotSave => {
                // A file cannot take a folder's place, whoever tries.
                fs::create_dir(self.folder.path().join("dump.rdb")).unwrap();
                self.run(&["config", "set", "save", "3600 1"]);
                self.saves("err").await;
            }
        }
        let answer = self.run(&["set", "refused", ""]);
        assert!(answer.starts_with(refusal.word()), "{answer}");
    }

    pub async fn take_writes(&self, refusal: Refusal) {
        match refusal {
            Refusal::IsReplica => _ = self.run(&["replicaof", "no", "one"]),
            Refusal::IsFull => _ = self.run(&["config", "set", "maxmemory", "0"]),
            Refusal::LacksReplicas => _ = self.run(&["config", "set", "min-replicas-to-write", "0"]),
            Refusal::CannotSave => {
                fs::remove_dir(self.folder.path().join("dump.rdb")).unwrap();
                self.saves("ok").await;
                self.run(&["config", "set", "save", ""]);
            }
        }
    }

    /// Saves, until that ends so.
    async fn saves(&self, status: &'static str) {
        eventually("a save to end", || async {
            self.run(&["bgsave"]);
            let told = self.run(&["info", "persistence"]);
            told.contains(&format!("rdb_last_bgsave_status:{status}")).then_some(())
        })
        .await;
    }
}

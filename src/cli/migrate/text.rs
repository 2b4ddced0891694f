//! Plans and states as text.

use std::fmt::Write as _;

use store::migrations::{
    look::Status,
    plan::{Plan, Planned, Table},
};

pub(super) fn plan(plan: &Plan) -> String {
    let mut text = format!(
        "environment  {}\ndatabase     {} (oid {}, server {})\n",
        plan.environment.as_str(),
        plan.database.name,
        plan.database.oid,
        plan.database
            .system
            .as_deref()
            .unwrap_or("that does not say its identifier")
    );
    if plan.pending.is_empty() {
        text.push_str("pending      nothing\n");
        return text;
    }
    for planned in &plan.pending {
        migration(planned, &mut text);
    }
    if !plan.tables.is_empty() {
        text.push_str("\ntables touched\n");
        for table in &plan.tables {
            size(table, &mut text);
        }
    }
    let _ = write!(
        text,
        "\nA lock is tried for 200 ms at a time, so that nobody waits longer behind a try. Estimates are by size, at 100 MiB read, 25 MiB\n\
         written or indexed, and 20000 rows a second.\n\ndigest       {}\n",
        plan.digest
    );
    text
}

fn migration(planned: &Planned, text: &mut String) {
    let _ = writeln!(
        text,
        "\n=== {}{}",
        planned.name,
        if planned.in_transaction {
            ""
        } else {
            " (outside a transaction)"
        }
    );
    for line in planned.sql.lines() {
        let _ = writeln!(text, "    {line}");
    }
    for step in &planned.statements {
        let on = if step.tables.is_empty() {
            String::new()
        } else {
            format!(" on {}", step.tables.join(", "))
        };
        let time = step
            .estimated_seconds
            .map_or_else(|| "milliseconds".to_owned(), |seconds| format!("about {seconds} s"));
        let _ = writeln!(
            text,
            "  - {}: lock {}{on}, keeps out {}; {time}",
            step.kind,
            step.lock.as_str(),
            step.blocks
        );
    }
    if !planned.destructive.is_empty() {
        let reviewed = if planned.reviewed {
            "reviewed"
        } else {
            "NOT in reviewed.txt"
        };
        let _ = writeln!(text, "  takes away: {} ({reviewed})", planned.destructive.join(", "));
    }
    match &planned.way_back {
        None => text.push_str("  NO WAY BACK: there is no .down.sql\n"),
        Some(back) => {
            let loses = if back.loses.is_empty() {
                "loses no data".to_owned()
            } else {
                format!("LOSES DATA: {}", back.loses.join(", "))
            };
            let _ = writeln!(text, "  way back ({loses}):");
            for line in back.sql.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
}

fn size(table: &Table, text: &mut String) {
    let rows = table
        .rows
        .map_or_else(|| "rows unknown".to_owned(), |rows| format!("about {rows} rows"));
    let _ = writeln!(
        text,
        "  {}: {rows}, {} bytes, {} with indexes",
        table.name, table.bytes, table.bytes_with_indexes
    );
}

pub(super) fn status(status: &Status) -> String {
    let environment = match status.environment {
        Some(environment) => environment.as_str(),
        None if status.is_empty => "none yet: it is empty",
        None => "not said; counts as production",
    };
    let mut text = format!("database     {}\nenvironment  {environment}\n", status.address);
    for applied in &status.applied {
        let _ = write!(
            text,
            "applied      {}  {}",
            applied.name,
            applied.at.format("%Y-%m-%dT%H:%M:%SZ")
        );
        for (what, said) in [
            ("by", &applied.by),
            ("digest", &applied.digest),
            ("outside the window:", &applied.reason),
            ("backup", &applied.backup),
        ] {
            if let Some(said) = said {
                let _ = write!(text, "  {what} {said}");
            }
        }
        text.push('\n');
    }
    for (what, names) in [
        ("pending", &status.pending),
        ("CHANGED", &status.changed),
        ("INVALID", &status.invalid_indexes),
    ] {
        for name in names {
            let _ = writeln!(text, "{what:<11}  {name}");
        }
    }
    if !status.newer.is_empty() {
        let _ = writeln!(text, "newer        {:?}: of a later release", status.newer);
    }
    if status.is_up_to_date() {
        text.push_str("up to date\n");
    }
    text
}

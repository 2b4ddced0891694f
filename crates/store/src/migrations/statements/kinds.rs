//! What each kind of statement does, by PostgreSQL's manual ("Explicit Locking", "ALTER TABLE").

use sqlparser::{
    ast::{
        AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOption, CreateTable, Expr, FromTable,
        ObjectName, ObjectType, Statement as Parsed, TableConstraint, TableFactor, TableObject, TableWithJoins,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
};

use super::{Lock, Statement, Work};

pub(super) fn read(text: &str) -> Statement {
    let words: Vec<String> = text.split_whitespace().take(3).map(str::to_uppercase).collect();
    let begins = |with: &[&str]| {
        words
            .iter()
            .map(String::as_str)
            .take(with.len())
            .eq(with.iter().copied())
    };
    // The parser has no word for it.
    let is_concurrent_drop = begins(&["DROP", "INDEX", "CONCURRENTLY"]);
    let readable = if is_concurrent_drop {
        text.replacen(text.split_whitespace().nth(2).unwrap_or_default(), "", 1)
    } else {
        text.to_owned()
    };
    let mut statement = Statement {
        text: text.to_owned(),
        kind: words.iter().take(2).cloned().collect::<Vec<_>>().join(" "),
        lock: Lock::AccessExclusive,
        work: Work::Rewrite,
        tables: Vec::new(),
        index: None,
        makes: Vec::new(),
        is_concurrent: is_concurrent_drop,
        sets_limit: false,
    };
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &readable);
    match parsed.as_deref() {
        Ok([parsed]) => describe(parsed, &mut statement),
        _ => statement.kind = format!("{} (not read: taken for the worst)", statement.kind),
    }
    if is_concurrent_drop {
        "DROP INDEX CONCURRENTLY".clone_into(&mut statement.kind);
        statement.lock = Lock::ShareUpdateExclusive;
    }
    statement.tables.sort();
    statement.tables.dedup();
    statement
}

fn describe(parsed: &Parsed, statement: &mut Statement) {
    let (lock, work) = match parsed {
        Parsed::Set(_) => {
            let text = statement.text.to_lowercase();
            statement.sets_limit = text.contains("lock_timeout") || text.contains("statement_timeout");
            "SET".clone_into(&mut statement.kind);
            (Lock::None, Work::Metadata)
        }
        Parsed::CreateTable(table) => create_table(table, statement),
        Parsed::CreateIndex(index) => {
            statement.tables.push(name(&index.table_name));
            statement.is_concurrent = index.concurrently;
            if index.concurrently {
                "CREATE INDEX CONCURRENTLY".clone_into(&mut statement.kind);
                (Lock::ShareUpdateExclusive, Work::Index)
            } else {
                (Lock::Share, Work::Index)
            }
        }
        Parsed::AlterTable(table) => alter_table(table, statement),
        Parsed::CreateTrigger(trigger) => {
            "CREATE TRIGGER".clone_into(&mut statement.kind);
            statement.tables.push(name(&trigger.table_name));
            (Lock::ShareRowExclusive, Work::Metadata)
        }
        Parsed::DropTrigger(trigger) => {
            statement.tables.extend(trigger.table_name.as_ref().map(name));
            (Lock::AccessExclusive, Work::Metadata)
        }
        Parsed::Drop { object_type, names, .. } => {
            match object_type {
                ObjectType::Index => statement.index = names.first().map(name),
                ObjectType::Table => statement.tables.extend(names.iter().map(name)),
                _ => {}
            }
            (Lock::AccessExclusive, Work::Metadata)
        }
        Parsed::CreateFunction(_) => {
            "CREATE FUNCTION".clone_into(&mut statement.kind);
            (Lock::None, Work::Metadata)
        }
        Parsed::DropFunction(_)
        | Parsed::CreateType { .. }
        | Parsed::CreateSequence { .. }
        | Parsed::CreateExtension(_) => (Lock::None, Work::Metadata),
        Parsed::Insert(insert) => {
            if let TableObject::TableName(table) = &insert.table {
                statement.tables.push(name(table));
            }
            "INSERT".clone_into(&mut statement.kind);
            (Lock::RowExclusive, Work::Rows)
        }
        Parsed::Update(update) => {
            statement.tables.extend(table_of(&update.table));
            "UPDATE".clone_into(&mut statement.kind);
            (Lock::RowExclusive, Work::Rows)
        }
        Parsed::Delete(delete) => {
            let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
            statement.tables.extend(tables.iter().filter_map(table_of));
            "DELETE".clone_into(&mut statement.kind);
            (Lock::RowExclusive, Work::Rows)
        }
        Parsed::Truncate(truncate) => {
            statement
                .tables
                .extend(truncate.table_names.iter().map(|table| name(&table.name)));
            "TRUNCATE".clone_into(&mut statement.kind);
            (Lock::AccessExclusive, Work::Metadata)
        }
        Parsed::Comment { object_name, .. } => {
            statement.tables.push(name(object_name));
            (Lock::ShareUpdateExclusive, Work::Metadata)
        }
        Parsed::Query(_) => {
            "SELECT".clone_into(&mut statement.kind);
            (Lock::AccessShare, Work::Scan)
        }
        _ => {
            statement.kind = format!("{} (not known: taken for the worst)", statement.kind);
            (Lock::AccessExclusive, Work::Rewrite)
        }
    };
    (statement.lock, statement.work) = (lock, work);
}

fn create_table(table: &CreateTable, statement: &mut Statement) -> (Lock, Work) {
    "CREATE TABLE".clone_into(&mut statement.kind);
    statement.makes.push(name(&table.name));
    let by_columns = table.columns.iter().flat_map(references);
    let by_constraints = table.constraints.iter().filter_map(|constraint| match constraint {
        TableConstraint::ForeignKey(key) => Some(name(&key.foreign_table)),
        _ => None,
    });
    statement.tables.extend(by_columns.chain(by_constraints));
    statement.tables.retain(|referenced| *referenced != statement.makes[0]);
    let lock = if statement.tables.is_empty() {
        Lock::None
    } else {
        Lock::ShareRowExclusive
    };
    let work = if table.query.is_some() {
        Work::Rows
    } else {
        Work::Metadata
    };
    (lock, work)
}

fn alter_table(table: &AlterTable, statement: &mut Statement) -> (Lock, Work) {
    statement.tables.push(name(&table.name));
    let mut strongest = (Lock::ShareUpdateExclusive, Work::Metadata);
    for operation in &table.operations {
        let (lock, work) = match operation {
            AlterTableOperation::AddColumn { column_def, .. } => {
                statement.tables.extend(references(column_def));
                (Lock::AccessExclusive, add_column(column_def))
            }
            AlterTableOperation::AddConstraint { constraint, not_valid } => {
                let work = if *not_valid { Work::Metadata } else { Work::Scan };
                match constraint {
                    TableConstraint::ForeignKey(key) => {
                        statement.tables.push(name(&key.foreign_table));
                        (Lock::ShareRowExclusive, work)
                    }
                    TableConstraint::Unique(_) | TableConstraint::PrimaryKey(_) => (Lock::AccessExclusive, Work::Index),
                    TableConstraint::Check(_) => (Lock::AccessExclusive, work),
                    // By an index that is there.
                    _ => (Lock::AccessExclusive, Work::Metadata),
                }
            }
            AlterTableOperation::ValidateConstraint { .. } => (Lock::ShareUpdateExclusive, Work::Scan),
            AlterTableOperation::AlterColumn { op, .. } => {
                let work = match op {
                    AlterColumnOperation::SetDataType { .. } => Work::Rewrite,
                    AlterColumnOperation::SetNotNull => Work::Scan,
                    _ => Work::Metadata,
                };
                (Lock::AccessExclusive, work)
            }
            AlterTableOperation::EnableTrigger { .. } | AlterTableOperation::DisableTrigger { .. } => {
                (Lock::ShareRowExclusive, Work::Metadata)
            }
            AlterTableOperation::SetOptionsParens { .. } => (Lock::ShareUpdateExclusive, Work::Metadata),
            AlterTableOperation::DropColumn { .. }
            | AlterTableOperation::DropConstraint { .. }
            | AlterTableOperation::RenameColumn { .. }
            | AlterTableOperation::RenameConstraint { .. }
            | AlterTableOperation::RenameTable { .. } => (Lock::AccessExclusive, Work::Metadata),
            _ => (Lock::AccessExclusive, Work::Rewrite),
        };
        strongest = (strongest.0.max(lock), strongest.1.max(work));
    }
    strongest
}

/// A default that is the same for all rows is kept once, in the catalogue; one that is computed for each rewrites the table.
fn add_column(column: &ColumnDef) -> Work {
    let works = column.options.iter().map(|option| match &option.option {
        ColumnOption::Default(value) if !is_constant(value) => Work::Rewrite,
        ColumnOption::Generated { .. } => Work::Rewrite,
        ColumnOption::Unique(_) | ColumnOption::PrimaryKey(_) => Work::Index,
        ColumnOption::Check(_) => Work::Scan,
        _ => Work::Metadata,
    });
    works.max().unwrap_or(Work::Metadata)
}

fn is_constant(value: &Expr) -> bool {
    match value {
        Expr::Value(_) => true,
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::UnaryOp { expr, .. } => is_constant(expr),
        _ => false,
    }
}

fn references(column: &ColumnDef) -> impl Iterator<Item = String> {
    column.options.iter().filter_map(|option| match &option.option {
        ColumnOption::ForeignKey(key) => Some(name(&key.foreign_table)),
        _ => None,
    })
}

fn table_of(table: &TableWithJoins) -> Option<String> {
    match &table.relation {
        TableFactor::Table { name: table, .. } => Some(name(table)),
        _ => None,
    }
}

fn name(name: &ObjectName) -> String {
    name.to_string()
}

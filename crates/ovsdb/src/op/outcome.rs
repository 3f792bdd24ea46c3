//! What a transaction has done.

use serde_json::Value;

use super::{Op, Place, Refusal, Transaction};
use crate::error::Error;
use crate::value::{Malformed, NamedUuid, Row, Uuid};

/// What a transaction that was done gives back.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    results: Vec<OpResult>,
    /// The names of inserted rows, with the numbers of their operations.
    names: Vec<(NamedUuid, usize)>,
}

/// What an operation that was done gives back.
#[derive(Debug, Clone, PartialEq)]
pub enum OpResult {
    /// The name of the row that was made.
    Inserted(Uuid),
    /// The rows that were read.
    Rows(Vec<Row>),
    /// How many rows it was about.
    Count(u64),
    /// Nothing.
    Done,
}

impl Outcome {
    /// All results, one for each operation.
    pub fn results(&self) -> &[OpResult] {
        &self.results
    }

    /// The name that a row has which the transaction called so.
    pub fn inserted(&self, name: &NamedUuid) -> Option<Uuid> {
        let (_, index) = self.names.iter().find(|(own, _)| own == name)?;
        if let OpResult::Inserted(uuid) = self.results[*index] { Some(uuid) } else { None }
    }

    /// How many rows an update, a mutation or a deletion was about, by the number of the operation.
    pub fn count(&self, index: usize) -> Option<u64> {
        if let OpResult::Count(count) = self.results.get(index)? { Some(*count) } else { None }
    }

    /// The rows that were read, by the number of the operation.
    pub fn rows(&self, index: usize) -> Option<&[Row]> {
        if let OpResult::Rows(rows) = self.results.get(index)? { Some(rows) } else { None }
    }

    /// Reads the server's answer to a transaction: an array with a result for each operation that was done, an error for
    /// the one that was not, `null` for those behind it, and one error more where all were done and cannot be committed
    /// (RFC 7047, section 4.1.3).
    pub(crate) fn read(transaction: &Transaction, answer: Value) -> Result<Self, Error> {
        let Value::Array(answers) = answer else {
            return Err(Malformed::new("an array of results", &answer).into());
        };
        let ops = transaction.ops();
        let mut results = Vec::with_capacity(ops.len());
        let mut names = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            let op = ops.get(index);
            if answer.get("error").is_some_and(|error| !error.is_null()) {
                let place = op.map_or(Place::Commit, |op| Place::of(index, op));
                return Err(Error::Refused(Refusal::new(place, &answer)));
            }
            let Some(op) = op else { return Err(Malformed::new("an error of the commit", &answer).into()) };
            if let Op::Insert { name: Some(name), .. } = op {
                names.push((name.clone(), index));
            }
            results.push(result(op, answer)?);
        }
        if results.len() < ops.len() {
            return Err(Error::Protocol(format!("{} results for {} operations", results.len(), ops.len())));
        }
        Ok(Self { results, names })
    }
}

fn result(op: &Op, mut answer: Value) -> Result<OpResult, Malformed> {
    let mut member = |name: &str| answer.get_mut(name).map(Value::take).unwrap_or_default();
    match op {
        Op::Insert { .. } => Ok(OpResult::Inserted(member("uuid").try_into()?)),
        Op::Select { .. } => match member("rows") {
            Value::Array(rows) => rows.into_iter().map(Row::try_from).collect::<Result<_, _>>().map(OpResult::Rows),
            other => Err(Malformed::new("an array of rows", &other)),
        },
        Op::Update { .. } | Op::Mutate { .. } | Op::Delete { .. } => {
            let count = member("count");
            count.as_u64().map(OpResult::Count).ok_or_else(|| Malformed::new("a count", &count))
        }
        Op::Wait { .. } | Op::Commit { .. } | Op::Abort | Op::Comment { .. } | Op::Assert { .. } => {
            // ovsdb-server(7): an object without members, where the RFC has nothing.
            if answer.is_object() { Ok(OpResult::Done) } else { Err(Malformed::new("a result", &answer)) }
        }
    }
}

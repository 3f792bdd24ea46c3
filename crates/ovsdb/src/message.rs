//! Messages of JSON-RPC 1.0, as RFC 7047, section 4, uses it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::value::beginning;

/// What the server says.
#[derive(Debug, PartialEq)]
pub(crate) enum Incoming {
    /// An answer.
    Reply {
        /// That of the request.
        id: Value,
        /// Its result, or its error.
        outcome: Result<Value, Value>,
    },
    /// Something that it wants an answer to.
    Request {
        /// To be repeated in the answer.
        id: Value,
        method: String,
        params: Value,
    },
    /// Something that it does not want an answer to.
    Notification { method: String, params: Value },
}

impl Incoming {
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, String> {
        let message: Value = serde_json::from_slice(frame).map_err(|error| error.to_string())?;
        let Value::Object(mut members) = message else { return Err("a message is no object".to_owned()) };
        let mut take = |name: &str| members.remove(name).unwrap_or_default();
        let (id, method, params, error) = (take("id"), take("method"), take("params"), take("error"));
        match (method, id) {
            (Value::String(method), Value::Null) => Ok(Self::Notification { method, params }),
            (Value::String(method), id) => Ok(Self::Request { id, method, params }),
            (Value::Null, Value::Null) => Err(format!("neither method nor id: {}", start(frame))),
            (Value::Null, id) => {
                let result = take("result");
                Ok(Self::Reply { id, outcome: if error.is_null() { Ok(result) } else { Err(error) } })
            }
            _ => Err(format!("a method that is no text: {}", start(frame))),
        }
    }
}

fn start(frame: &[u8]) -> String {
    beginning(&String::from_utf8_lossy(&frame[..frame.len().min(400)]))
}

#[derive(Serialize)]
struct Request<'r, I, P: ?Sized> {
    method: &'r str,
    params: &'r P,
    id: I,
}

#[derive(Serialize)]
struct Reply<'r> {
    result: &'r Value,
    error: Option<&'r str>,
    id: &'r Value,
}

/// A request, or a notification where the id is `None`.
pub(crate) fn request<P: Serialize + ?Sized>(
    id: Option<u64>,
    method: &str,
    params: &P,
) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(&Request { method, params, id }).map(Bytes::from)
}

/// An answer to a request of the server.
pub(crate) fn reply(id: &Value, outcome: Result<&Value, &str>) -> Bytes {
    let (result, error) = outcome.map_or_else(|error| (&Value::Null, Some(error)), |result| (result, None));
    // Values are always written: their keys are texts.
    serde_json::to_vec(&Reply { result, error, id }).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(message: &Value) -> Result<Incoming, String> {
        Incoming::parse(message.to_string().as_bytes())
    }

    #[test]
    fn a_message_is_known_by_its_members() {
        let reply = parsed(&json!({"id": 7, "result": [1], "error": null}));
        assert_eq!(reply, Ok(Incoming::Reply { id: json!(7), outcome: Ok(json!([1])) }));
        let reply = parsed(&json!({"id": 7, "result": null, "error": "x"}));
        assert_eq!(reply, Ok(Incoming::Reply { id: json!(7), outcome: Err(json!("x")) }));
        let asked = parsed(&json!({"id": "echo", "method": "echo", "params": []}));
        assert_eq!(asked, Ok(Incoming::Request { id: json!("echo"), method: "echo".into(), params: json!([]) }));
        let told = parsed(&json!({"id": null, "method": "locked", "params": ["l"]}));
        assert_eq!(told, Ok(Incoming::Notification { method: "locked".into(), params: json!(["l"]) }));
    }

    #[test]
    fn what_is_no_message_is_said() {
        assert!(parsed(&json!({"result": 1})).unwrap_err().starts_with("neither method nor id: {"));
        assert!(parsed(&json!({"method": 1, "id": 1})).unwrap_err().starts_with("a method that is no text"));
        assert!(Incoming::parse(b"{]").unwrap_err().contains("column 2"));
        assert!(Incoming::parse("{\"a\":é}".as_bytes()).is_err());
    }

    #[test]
    fn messages_are_written_with_all_members() {
        assert_eq!(request(Some(1), "echo", &[0; 0]).unwrap(), r#"{"method":"echo","params":[],"id":1}"#);
        assert_eq!(request(None, "cancel", &[3]).unwrap(), r#"{"method":"cancel","params":[3],"id":null}"#);
        assert_eq!(reply(&json!("e"), Ok(&json!([]))), r#"{"result":[],"error":null,"id":"e"}"#);
        assert_eq!(reply(&json!(1), Err("unknown method")), r#"{"result":null,"error":"unknown method","id":1}"#);
    }
}

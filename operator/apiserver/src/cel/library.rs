//! Kubernetes' own function libraries: quantities, addresses, URLs, versions, formats and strings.
//!
//! Owns the bridge to `kube-cel`: a call becomes a one-line program over variables, compiled once for each thread and
//! form. Must not know rules. Invariant: no text of a user's rule is ever parsed here, so that nothing a user writes
//! reaches the older parser below; only values do.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::Key;
use kube_cel::cel::{Context, ExecutionError, Program, Value};

use crate::schema::quote;

use super::signature::Signature;
use super::value::Val;

/// A form of a function: its name, how many arguments it has, and whether it is called on the first.
type Form = (&'static str, usize, bool);

thread_local! {
    static LIBRARY: RefCell<Library> = RefCell::new(Library::new());
}

struct Library {
    context: Context<'static>,
    programs: HashMap<Form, Rc<Program>>,
}

impl Library {
    fn new() -> Self {
        Self {
            context: Context::default().with_all(),
            programs: HashMap::new(),
        }
    }

    fn program(
        &mut self,
        name: &'static str,
        arguments: usize,
        method: bool,
    ) -> Result<Rc<Program>, String> {
        let form = (name, arguments, method);
        if let Some(program) = self.programs.get(&form) {
            return Ok(Rc::clone(program));
        }
        let names: Vec<&str> = ARGUMENTS.iter().take(arguments).copied().collect();
        let text = match (method, names.split_first()) {
            (true, Some((target, rest))) => format!("{target}.{name}({})", rest.join(", ")),
            _ => format!("{name}({})", names.join(", ")),
        };
        let program = Program::compile(&text).map_err(|error| error.to_string())?;
        let program = Rc::new(program);
        self.programs.insert(form, Rc::clone(&program));
        Ok(program)
    }
}

/// The variables of a call; no function takes more.
const ARGUMENTS: [&str; 4] = ["a", "b", "c", "d"];

/// Calls a function.
///
/// # Errors
/// Why it refused its arguments, in its words.
pub fn call<'v>(signature: &'static Signature, arguments: &[Val<'v>]) -> Result<Val<'v>, String> {
    LIBRARY.with_borrow_mut(|library| {
        let program = library.program(signature.name, arguments.len(), signature.method)?;
        let mut scope = library.context.new_inner_scope();
        for (name, argument) in ARGUMENTS.iter().zip(arguments) {
            let value = outgoing(argument).ok_or("no such overload")?;
            scope.add_variable_from_value(*name, value);
        }
        match program.execute(&scope) {
            // The library makes the format itself where Kubernetes makes an optional of it, and null of an unknown name.
            Ok(value) if signature.name == "format.named" => Ok(match incoming(value)? {
                Val::Null | Val::Optional(None) => Val::Optional(None),
                known => Val::Optional(Some(Rc::new(known))),
            }),
            Err(_) if signature.name == "format.named" => Ok(Val::Optional(None)),
            Ok(value) => incoming(value),
            Err(ExecutionError::FunctionError { message, .. }) => {
                Err(worded(signature.name, arguments, message))
            }
            Err(error) => Err(error.to_string()),
        }
    })
}

/// The refusal of an argument in the words of kube-apiserver.
fn worded(name: &str, arguments: &[Val<'_>], message: String) -> String {
    let text = quote(arguments.first().and_then(Val::text).unwrap_or_default());
    match name {
        "quantity" => {
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned()
        }
        "ip" => {
            format!("IP Address {text} parse error during conversion from string: ParseAddr({text}): unable to parse IP")
        }
        "cidr" => format!("network address parse error during conversion from string: {text}"),
        "url" => format!("URL parse error during conversion from string: parse {text}: invalid URI for request"),
        _ => message,
    }
}

fn outgoing(value: &Val<'_>) -> Option<Value> {
    Some(match value {
        Val::Null => Value::Null,
        Val::Bool(flag) => Value::Bool(*flag),
        Val::Int(integer) => Value::Int(*integer),
        Val::Uint(integer) => Value::UInt(*integer),
        Val::Double(float) => Value::Float(*float),
        Val::Str(_) | Val::Made(_) => Value::String(Arc::new(value.text()?.to_owned())),
        Val::Bytes(bytes) => Value::Bytes(Arc::new(bytes.to_vec())),
        Val::Array(..) | Val::List(_) => {
            let items: Option<Vec<Value>> = value.elements()?.map(|item| outgoing(&item)).collect();
            Value::List(Arc::new(items?))
        }
        Val::Object(..) | Val::Map(_) => {
            let mut map = HashMap::new();
            for (key, value) in value.entries()? {
                map.insert(
                    Key::String(Arc::new(key.text()?.to_owned())),
                    outgoing(&value)?,
                );
            }
            Value::Map(kube_cel::cel::objects::Map { map: Arc::new(map) })
        }
        Val::Foreign(value) => value.clone(),
        Val::Duration(_) | Val::Timestamp(_) => {
            Value::String(Arc::new(super::native::text_of(value)?))
        }
        Val::Optional(_) | Val::Type(_) => return None,
    })
}

fn incoming<'v>(value: Value) -> Result<Val<'v>, String> {
    use kube_cel::cel::objects::OptionalValue;
    Ok(match value {
        Value::Null => Val::Null,
        Value::Bool(flag) => Val::Bool(flag),
        Value::Int(integer) => Val::Int(integer),
        Value::UInt(integer) => Val::Uint(integer),
        Value::Float(float) => Val::Double(float),
        Value::String(text) => Val::made(text.as_str()),
        Value::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
        Value::List(items) => {
            let items: Result<Vec<Val<'v>>, String> = items.iter().cloned().map(incoming).collect();
            Val::List(Rc::new(items?))
        }
        Value::Map(map) => {
            let mut entries = Vec::new();
            for (key, value) in map.map.iter() {
                let Key::String(key) = key else {
                    return Err("no such overload".to_owned());
                };
                entries.push((Val::made(key.as_str()), incoming(value.clone())?));
            }
            entries.sort_by(|a, b| a.0.text().cmp(&b.0.text()));
            Val::Map(Rc::new(entries))
        }
        Value::Opaque(opaque) => match opaque.downcast_ref::<OptionalValue>() {
            Some(optional) => match optional.value() {
                Some(inner) => Val::Optional(Some(Rc::new(incoming(inner.clone())?))),
                None => Val::Optional(None),
            },
            None => Val::Foreign(Value::Opaque(opaque)),
        },
        Value::Duration(duration) => {
            Val::Duration(duration.num_nanoseconds().ok_or("duration out of range")?)
        }
        other @ (Value::Function(..) | Value::Timestamp(_)) => {
            return Err(format!("unexpected result of type {}", other.type_of()));
        }
    })
}

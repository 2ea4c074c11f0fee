//! Runs a template's tree: bounded in steps, depth and output.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Arg, Constant, Expr, Op, Stmt, Target};
use super::value::Py;
use super::{Fault, Scope, filters, functions, methods, ops, tests};

const STEPS_MAX: u32 = 200_000;
const DEPTH_MAX: u32 = 64;
const OUTPUT_BYTES_MAX: usize = 8 << 20;

/// What a loop's body asks for.
enum Flow {
    On,
    Break,
    Continue,
}

/// Arguments of a call, evaluated.
#[derive(Default)]
pub(super) struct Args<'a> {
    pub(super) positional: Vec<Py<'a>>,
    pub(super) named: Vec<(Arc<str>, Py<'a>)>,
}

impl<'a> Args<'a> {
    /// By place, else by name.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Py<'a>> {
        let named = || self.named.iter().find(|(known, _)| &**known == name);
        self.positional
            .get(index)
            .or_else(|| named().map(|(_, value)| value))
    }

    pub(super) fn need(&self, index: usize, name: &str) -> Result<&Py<'a>, Fault> {
        self.get(index, name)
            .ok_or_else(|| Fault::kind(format!("missing a required argument: '{name}'")))
    }

    pub(super) fn text(&self, index: usize, name: &str) -> Result<&str, Fault> {
        let value = self.need(index, name)?;
        if let Py::Undefined(name) = value {
            return Err(Fault::undefined(name));
        }
        value
            .as_str()
            .ok_or_else(|| Fault::kind(format!("'{name}' must be str, not {}", value.type_name())))
    }
}

pub(super) struct Machine<'s, 'a> {
    pub(super) scope: &'s Scope<'a>,
    /// What the template set itself, inner scopes last.
    locals: Vec<HashMap<Arc<str>, Py<'a>>>,
    out: String,
    steps: u32,
    depth: u32,
}

pub(super) fn render<'a>(body: &[Stmt], scope: &Scope<'a>) -> Result<String, Fault> {
    let mut machine = Machine {
        scope,
        locals: vec![HashMap::new()],
        out: String::new(),
        steps: 0,
        depth: 0,
    };
    machine.run(body)?;
    Ok(machine.out)
}

impl<'a> Machine<'_, 'a> {
    fn step(&mut self) -> Result<(), Fault> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Fault::other(format!(
                "the template takes more than {STEPS_MAX} steps"
            )));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Fault> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(Fault::other(format!(
                "the template gives more than {OUTPUT_BYTES_MAX} bytes"
            )));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn run(&mut self, body: &[Stmt]) -> Result<Flow, Fault> {
        for stmt in body {
            self.step()?;
            let flow = match stmt {
                Stmt::Raw(text) => {
                    self.write(text)?;
                    Flow::On
                }
                Stmt::Emit(value) => {
                    let value = self.eval(value)?;
                    match value.as_str() {
                        Some(text) => self.write(text)?,
                        None => self.write(&value.text())?,
                    }
                    Flow::On
                }
                Stmt::Do(value) => {
                    self.eval(value)?;
                    Flow::On
                }
                Stmt::If(test, yes, no) => {
                    let branch = if self.eval(test)?.is_true() { yes } else { no };
                    self.run(branch)?
                }
                Stmt::For { .. } => self.each(stmt)?,
                Stmt::Set(target, value) => {
                    let value = self.eval(value)?;
                    self.assign(target, value)?;
                    Flow::On
                }
                Stmt::SetBlock(target, body) => {
                    let before = std::mem::take(&mut self.out);
                    let flow = self.run(body)?;
                    let text = std::mem::replace(&mut self.out, before);
                    self.assign(target, Py::string(text))?;
                    flow
                }
                Stmt::With(assigned, body) => {
                    self.locals.push(HashMap::new());
                    for (target, value) in assigned {
                        let value = self.eval(value)?;
                        self.assign(target, value)?;
                    }
                    let flow = self.run(body)?;
                    self.locals.pop();
                    flow
                }
                Stmt::Break => Flow::Break,
                Stmt::Continue => Flow::Continue,
            };
            if !matches!(flow, Flow::On) {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn each(&mut self, stmt: &Stmt) -> Result<Flow, Fault> {
        let Stmt::For {
            target,
            iter,
            filter,
            body,
            otherwise,
        } = stmt
        else {
            return Ok(Flow::On);
        };
        let mut items = self.eval(iter)?.iterate()?;
        self.locals.push(HashMap::new());
        if let Some(filter) = filter {
            let mut kept = Vec::new();
            for item in items {
                self.assign(target, item.clone())?;
                if self.eval(filter)?.is_true() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let total = items.len();
        for (index, item) in items.into_iter().enumerate() {
            self.step()?;
            self.assign(target, item)?;
            self.set("loop", loop_state(index, total));
            match self.run(body)? {
                Flow::Break => break,
                Flow::On | Flow::Continue => {}
            }
        }
        self.locals.pop();
        if total == 0 {
            self.run(otherwise)
        } else {
            Ok(Flow::On)
        }
    }

    fn set(&mut self, name: &str, value: Py<'a>) {
        if let Some(locals) = self.locals.last_mut() {
            locals.insert(name.into(), value);
        }
    }

    fn assign(&mut self, target: &Target, value: Py<'a>) -> Result<(), Fault> {
        match target {
            Target::Name(name) => self.set(name, value),
            Target::Many(targets) => {
                let items = value.iterate()?;
                if items.len() != targets.len() {
                    return Err(Fault::other("wrong number of values to unpack"));
                }
                for (target, item) in targets.iter().zip(items) {
                    self.assign(target, item)?;
                }
            }
            Target::Member(holder, name) => {
                let holder = self.eval(holder)?;
                methods::set_member(&holder, Py::str(name), value)?;
            }
        }
        Ok(())
    }

    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Py<'a>, Fault> {
        self.step()?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::other(format!(
                "the template nests more than {DEPTH_MAX} levels deep"
            )));
        }
        let value = self.value(expr);
        self.depth -= 1;
        value
    }

    fn value(&mut self, expr: &Expr) -> Result<Py<'a>, Fault> {
        match expr {
            Expr::Name(name) => Ok(self.name(name)),
            Expr::Constant(constant) => Ok(match constant {
                Constant::None => Py::None,
                Constant::Bool(flag) => Py::Bool(*flag),
                Constant::Int(number) => Py::Int(i128::from(*number)),
                Constant::Float(number) => Py::Float(*number),
                Constant::Text(text) => Py::str(text),
            }),
            Expr::Attr(holder, name) => {
                let holder = self.eval(holder)?;
                methods::attribute(&holder, name)
            }
            Expr::Item(holder, key) => {
                let holder = self.eval(holder)?;
                let key = self.eval(key)?;
                methods::item(&holder, &key)
            }
            Expr::Slice(value, bounds) => {
                let value = self.eval(value)?;
                let mut at = [None, None, None];
                for (at, bound) in at.iter_mut().zip(bounds) {
                    if let Some(bound) = bound {
                        *at = self.eval(bound)?.as_int();
                    }
                }
                methods::slice(&value, at)
            }
            Expr::Not(value) => Ok(Py::Bool(!self.eval(value)?.is_true())),
            Expr::Neg(value) => ops::negate(&self.eval(value)?),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::Compare(first, rest) => self.chain(first, rest),
            Expr::If(test, yes, no) => match (self.eval(test)?.is_true(), no) {
                (true, _) => self.eval(yes),
                (false, Some(no)) => self.eval(no),
                (false, None) => Ok(Py::Undefined(Rc::from("the inline if-expression"))),
            },
            Expr::Filter(name, value, args) => {
                let value = match value {
                    Some(value) => self.eval(value)?,
                    None => return Err(Fault::other("a filter needs a value")),
                };
                let args = self.args(args)?;
                filters::apply(name, &value, &args)
            }
            Expr::Test(name, value, args) => {
                let value = self.eval(value)?;
                let args = self.args(args)?;
                tests::test(name, &value, &args).map(Py::Bool)
            }
            Expr::Call(callee, args) => self.call(callee, args),
            Expr::List(items) => Ok(Py::list(self.all(items)?)),
            Expr::Tuple(items) => Ok(Py::Tuple(Rc::new(self.all(items)?))),
            Expr::Dict(members) => {
                let mut made = Vec::with_capacity(members.len());
                for (key, value) in members {
                    made.push((self.eval(key)?, self.eval(value)?));
                }
                Ok(Py::dict(made))
            }
        }
    }

    fn all(&mut self, items: &[Expr]) -> Result<Vec<Py<'a>>, Fault> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn name(&self, name: &str) -> Py<'a> {
        let local = self.locals.iter().rev().find_map(|locals| locals.get(name));
        if let Some(found) = local {
            return found.clone();
        }
        if let Some(found) = self.scope.get(name) {
            return found.value();
        }
        if functions::is_global(name) {
            return Py::Function(Rc::from(name));
        }
        Py::Undefined(Rc::from(name))
    }

    fn binary(&mut self, op: Op, left: &Expr, right: &Expr) -> Result<Py<'a>, Fault> {
        let left = self.eval(left)?;
        match op {
            Op::And if !left.is_true() => Ok(left),
            Op::Or if left.is_true() => Ok(left),
            Op::And | Op::Or => self.eval(right),
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::In | Op::NotIn => {
                let right = self.eval(right)?;
                ops::compare(op, &left, &right).map(Py::Bool)
            }
            _ => {
                let right = self.eval(right)?;
                ops::arithmetic(op, &left, &right)
            }
        }
    }

    fn chain(&mut self, first: &Expr, rest: &[(Op, Expr)]) -> Result<Py<'a>, Fault> {
        let mut left = self.eval(first)?;
        for (op, right) in rest {
            let right = self.eval(right)?;
            if !ops::compare(*op, &left, &right)? {
                return Ok(Py::Bool(false));
            }
            left = right;
        }
        Ok(Py::Bool(true))
    }

    fn args(&mut self, args: &[Arg]) -> Result<Args<'a>, Fault> {
        let mut made = Args::default();
        for arg in args {
            match arg {
                Arg::Positional(value) => made.positional.push(self.eval(value)?),
                Arg::Named(name, value) => made.named.push((name.clone(), self.eval(value)?)),
            }
        }
        Ok(made)
    }

    fn call(&mut self, callee: &Expr, args: &[Arg]) -> Result<Py<'a>, Fault> {
        let callee = self.eval(callee)?;
        let args = self.args(args)?;
        match callee {
            Py::Function(name) => functions::call(&name, &args, self.scope.now),
            Py::Method(method) => methods::call(&method.0, &method.1, &args),
            Py::Undefined(name) => Err(Fault::undefined(&name)),
            other => Err(Fault::kind(format!(
                "'{}' object is not callable",
                other.type_name()
            ))),
        }
    }
}

fn loop_state<'a>(index: usize, total: usize) -> Py<'a> {
    let number = |value: usize| Py::Int(i128::try_from(value).unwrap_or(i128::MAX));
    let member = |name: &str, value: Py<'a>| (Py::str(name), value);
    Py::dict(vec![
        member("index", number(index + 1)),
        member("index0", number(index)),
        member("first", Py::Bool(index == 0)),
        member("last", Py::Bool(index + 1 == total)),
        member("length", number(total)),
        member("revindex", number(total - index)),
        member("revindex0", number(total - index - 1)),
    ])
}

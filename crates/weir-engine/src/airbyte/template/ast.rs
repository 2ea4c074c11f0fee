//! A template's tree, kept without the text it came from.

use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::machinery::ast as jinja;
use minijinja::value::ValueKind;

#[derive(Debug)]
pub(super) enum Stmt {
    Raw(String),
    Emit(Expr),
    If(Expr, Vec<Self>, Vec<Self>),
    For {
        target: Target,
        iter: Expr,
        filter: Option<Expr>,
        body: Vec<Self>,
        otherwise: Vec<Self>,
    },
    Set(Target, Expr),
    SetBlock(Target, Vec<Self>),
    With(Vec<(Target, Expr)>, Vec<Self>),
    Do(Expr),
    Break,
    Continue,
}

/// Where a value goes.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Many(Vec<Self>),
    /// A member of a namespace.
    Member(Expr, Arc<str>),
}

#[derive(Debug, Clone)]
pub(super) enum Constant {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    And,
    Or,
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
    Concat,
}

#[derive(Debug)]
pub(super) enum Expr {
    Name(Arc<str>),
    Constant(Constant),
    Slice(Box<Self>, [Option<Box<Self>>; 3]),
    Not(Box<Self>),
    Neg(Box<Self>),
    Binary(Op, Box<Self>, Box<Self>),
    Compare(Box<Self>, Vec<(Op, Self)>),
    If(Box<Self>, Box<Self>, Option<Box<Self>>),
    Filter(Arc<str>, Option<Box<Self>>, Vec<Arg>),
    Test(Arc<str>, Box<Self>, Vec<Arg>),
    Attr(Box<Self>, Arc<str>),
    Item(Box<Self>, Box<Self>),
    Call(Box<Self>, Vec<Arg>),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    Dict(Vec<(Self, Self)>),
}

#[derive(Debug)]
pub(super) enum Arg {
    Positional(Expr),
    Named(Arc<str>, Expr),
}

type Converted<T> = Result<T, String>;

pub(super) fn parse(source: &str) -> Converted<Vec<Stmt>> {
    // One line end at the end does not count.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let syntax = minijinja::syntax::SyntaxConfig::default();
    match minijinja::machinery::parse(source, "template", syntax).map_err(|error| error.to_string())? {
        jinja::Stmt::Template(template) => statements(&template.children),
        _ => Err("the template has no body".to_owned()),
    }
}

fn statements(all: &[jinja::Stmt<'_>]) -> Converted<Vec<Stmt>> {
    all.iter().map(statement).collect()
}

fn statement(found: &jinja::Stmt<'_>) -> Converted<Stmt> {
    Ok(match found {
        jinja::Stmt::EmitRaw(raw) => Stmt::Raw(raw.raw.to_owned()),
        jinja::Stmt::EmitExpr(emit) => Stmt::Emit(expression(&emit.expr)?),
        jinja::Stmt::IfCond(cond) => Stmt::If(
            expression(&cond.expr)?,
            statements(&cond.true_body)?,
            statements(&cond.false_body)?,
        ),
        jinja::Stmt::ForLoop(each) => Stmt::For {
            target: target(&each.target)?,
            iter: expression(&each.iter)?,
            filter: each.filter_expr.as_ref().map(expression).transpose()?,
            body: statements(&each.body)?,
            otherwise: statements(&each.else_body)?,
        },
        jinja::Stmt::Set(set) => Stmt::Set(target(&set.target)?, expression(&set.expr)?),
        jinja::Stmt::SetBlock(set) if set.filter.is_none() => {
            Stmt::SetBlock(target(&set.target)?, statements(&set.body)?)
        }
        jinja::Stmt::WithBlock(with) => {
            let assigned = with.assignments.iter();
            let assigned = assigned.map(|(to, value)| Ok((target(to)?, expression(value)?)));
            Stmt::With(assigned.collect::<Converted<_>>()?, statements(&with.body)?)
        }
        jinja::Stmt::Do(call) => Stmt::Do(called(&call.call)?),
        jinja::Stmt::Continue(_) => Stmt::Continue,
        jinja::Stmt::Break(_) => Stmt::Break,
        _ => return Err("the template uses a statement that manifests do not have".to_owned()),
    })
}

fn target(found: &jinja::Expr<'_>) -> Converted<Target> {
    match found {
        jinja::Expr::Var(name) => Ok(Target::Name(name.id.into())),
        jinja::Expr::GetAttr(member) => Ok(Target::Member(expression(&member.expr)?, member.name.into())),
        jinja::Expr::List(items) => items
            .items
            .iter()
            .map(target)
            .collect::<Converted<_>>()
            .map(Target::Many),
        jinja::Expr::Tuple(items) => items
            .items
            .iter()
            .map(target)
            .collect::<Converted<_>>()
            .map(Target::Many),
        _ => Err("a value can be set to names only".to_owned()),
    }
}

fn boxed(found: &jinja::Expr<'_>) -> Converted<Box<Expr>> {
    expression(found).map(Box::new)
}

fn maybe(found: Option<&jinja::Expr<'_>>) -> Converted<Option<Box<Expr>>> {
    found.map(boxed).transpose()
}

fn expression(found: &jinja::Expr<'_>) -> Converted<Expr> {
    Ok(match found {
        jinja::Expr::Var(name) => Expr::Name(name.id.into()),
        jinja::Expr::Const(value) => Expr::Constant(constant(&value.value)?),
        jinja::Expr::Slice(slice) => Expr::Slice(
            boxed(&slice.expr)?,
            [
                maybe(slice.start.as_ref())?,
                maybe(slice.stop.as_ref())?,
                maybe(slice.step.as_ref())?,
            ],
        ),
        jinja::Expr::UnaryOp(unary) => match unary.op {
            jinja::UnaryOpKind::Not => Expr::Not(boxed(&unary.expr)?),
            jinja::UnaryOpKind::Neg => Expr::Neg(boxed(&unary.expr)?),
        },
        jinja::Expr::BinOp(binary) => {
            Expr::Binary(binary_op(binary.op), boxed(&binary.left)?, boxed(&binary.right)?)
        }
        jinja::Expr::Compare(compare) => {
            let ops = compare.ops.iter();
            let ops = ops.map(|next| Ok((compare_op(next.op), expression(&next.expr)?)));
            Expr::Compare(boxed(&compare.expr)?, ops.collect::<Converted<_>>()?)
        }
        jinja::Expr::IfExpr(cond) => Expr::If(
            boxed(&cond.test_expr)?,
            boxed(&cond.true_expr)?,
            maybe(cond.false_expr.as_ref())?,
        ),
        jinja::Expr::Filter(filter) => Expr::Filter(
            filter.name.into(),
            maybe(filter.expr.as_ref())?,
            arguments(&filter.args)?,
        ),
        jinja::Expr::Test(test) => Expr::Test(test.name.into(), boxed(&test.expr)?, arguments(&test.args)?),
        jinja::Expr::GetAttr(attr) => Expr::Attr(boxed(&attr.expr)?, attr.name.into()),
        jinja::Expr::GetItem(item) => Expr::Item(boxed(&item.expr)?, boxed(&item.subscript_expr)?),
        jinja::Expr::Call(call) => called(call)?,
        jinja::Expr::List(list) => Expr::List(many(&list.items)?),
        jinja::Expr::Tuple(tuple) => Expr::Tuple(many(&tuple.items)?),
        jinja::Expr::Map(map) => {
            let members = map.keys.iter().zip(&map.values);
            let members = members.map(|(key, value)| Ok((expression(key)?, expression(value)?)));
            Expr::Dict(members.collect::<Converted<_>>()?)
        }
    })
}

fn many(all: &[jinja::Expr<'_>]) -> Converted<Vec<Expr>> {
    all.iter().map(expression).collect()
}

fn called(call: &jinja::Call<'_>) -> Converted<Expr> {
    Ok(Expr::Call(boxed(&call.expr)?, arguments(&call.args)?))
}

fn arguments(all: &[jinja::CallArg<'_>]) -> Converted<Vec<Arg>> {
    all.iter()
        .map(|found| match found {
            jinja::CallArg::Pos(value) => expression(value).map(Arg::Positional),
            jinja::CallArg::Kwarg(name, value) => Ok(Arg::Named((*name).into(), expression(value)?)),
            jinja::CallArg::PosSplat(_) | jinja::CallArg::KwargSplat(_) => {
                Err("arguments with * are not available in manifests".to_owned())
            }
        })
        .collect()
}

fn constant(value: &minijinja::Value) -> Converted<Constant> {
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Constant::None,
        ValueKind::Bool => Constant::Bool(value.is_true()),
        ValueKind::Number if value.is_integer() => {
            Constant::Int(value.as_i64().ok_or("a number is out of range")?)
        }
        ValueKind::Number => {
            Constant::Float(f64::try_from(value.clone()).map_err(|error| error.to_string())?)
        }
        _ => Constant::Text(value.as_str().ok_or("a constant is not understood")?.into()),
    })
}

fn binary_op(op: jinja::BinOpKind) -> Op {
    match op {
        jinja::BinOpKind::Eq => Op::Eq,
        jinja::BinOpKind::Ne => Op::Ne,
        jinja::BinOpKind::Lt => Op::Lt,
        jinja::BinOpKind::Lte => Op::Le,
        jinja::BinOpKind::Gt => Op::Gt,
        jinja::BinOpKind::Gte => Op::Ge,
        jinja::BinOpKind::ScAnd => Op::And,
        jinja::BinOpKind::ScOr => Op::Or,
        jinja::BinOpKind::Add => Op::Add,
        jinja::BinOpKind::Sub => Op::Sub,
        jinja::BinOpKind::Mul => Op::Mul,
        jinja::BinOpKind::Div => Op::Div,
        jinja::BinOpKind::FloorDiv => Op::FloorDiv,
        jinja::BinOpKind::Rem => Op::Rem,
        jinja::BinOpKind::Pow => Op::Pow,
        jinja::BinOpKind::Concat => Op::Concat,
        jinja::BinOpKind::In => Op::In,
    }
}

fn compare_op(op: jinja::CompareOpKind) -> Op {
    match op {
        jinja::CompareOpKind::Eq => Op::Eq,
        jinja::CompareOpKind::Ne => Op::Ne,
        jinja::CompareOpKind::Lt => Op::Lt,
        jinja::CompareOpKind::Lte => Op::Le,
        jinja::CompareOpKind::Gt => Op::Gt,
        jinja::CompareOpKind::Gte => Op::Ge,
        jinja::CompareOpKind::In => Op::In,
        jinja::CompareOpKind::NotIn => Op::NotIn,
    }
}

/// The names that a template uses, and those that it defines itself.
#[derive(Default)]
pub(super) struct Names {
    pub(super) used: BTreeSet<Arc<str>>,
    pub(super) defined: BTreeSet<Arc<str>>,
}

impl Names {
    pub(super) fn of(all: &[Stmt]) -> Self {
        let mut names = Self::default();
        names.statements(all);
        names
    }

    fn statements(&mut self, all: &[Stmt]) {
        for stmt in all {
            match stmt {
                Stmt::Raw(_) | Stmt::Break | Stmt::Continue => {}
                Stmt::Emit(value) | Stmt::Do(value) => self.expr(value),
                Stmt::If(test, yes, no) => {
                    self.expr(test);
                    self.statements(yes);
                    self.statements(no);
                }
                Stmt::For {
                    target,
                    iter,
                    filter,
                    body,
                    otherwise,
                } => {
                    self.defined.insert("loop".into());
                    self.target(target);
                    self.expr(iter);
                    filter.iter().for_each(|filter| self.expr(filter));
                    self.statements(body);
                    self.statements(otherwise);
                }
                Stmt::Set(target, value) => {
                    self.target(target);
                    self.expr(value);
                }
                Stmt::SetBlock(target, body) => {
                    self.target(target);
                    self.statements(body);
                }
                Stmt::With(assigned, body) => {
                    for (target, value) in assigned {
                        self.target(target);
                        self.expr(value);
                    }
                    self.statements(body);
                }
            }
        }
    }

    fn target(&mut self, target: &Target) {
        match target {
            Target::Name(name) => {
                self.defined.insert(name.clone());
            }
            Target::Many(targets) => targets.iter().for_each(|target| self.target(target)),
            Target::Member(value, _) => self.expr(value),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Name(name) => {
                self.used.insert(name.clone());
            }
            Expr::Constant(_) => {}
            Expr::Slice(value, bounds) => {
                self.expr(value);
                bounds.iter().flatten().for_each(|bound| self.expr(bound));
            }
            Expr::Not(value) | Expr::Neg(value) | Expr::Attr(value, _) => self.expr(value),
            Expr::Binary(_, left, right) | Expr::Item(left, right) => {
                self.expr(left);
                self.expr(right);
            }
            Expr::Compare(first, rest) => {
                self.expr(first);
                rest.iter().for_each(|(_, value)| self.expr(value));
            }
            Expr::If(test, yes, no) => {
                self.expr(test);
                self.expr(yes);
                no.iter().for_each(|no| self.expr(no));
            }
            Expr::Filter(_, value, args) => {
                value.iter().for_each(|value| self.expr(value));
                self.args(args);
            }
            Expr::Test(_, value, args) | Expr::Call(value, args) => {
                self.expr(value);
                self.args(args);
            }
            Expr::List(items) | Expr::Tuple(items) => items.iter().for_each(|item| self.expr(item)),
            Expr::Dict(members) => members.iter().for_each(|(key, value)| {
                self.expr(key);
                self.expr(value);
            }),
        }
    }

    fn args(&mut self, args: &[Arg]) {
        for arg in args {
            match arg {
                Arg::Positional(value) | Arg::Named(_, value) => self.expr(value),
            }
        }
    }
}

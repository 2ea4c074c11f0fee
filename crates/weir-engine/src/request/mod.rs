//! From a spec's request and what is known of slice and page to an HTTP request.

mod multipart;

use serde_json::{Map, Value};
use url::Url;
use weir_protocol::spec::{HttpSpec, Placed, Request};
use weir_protocol::{Error, Result};

use crate::extract::Path;
use crate::http::{Body, Method, Outgoing};
use crate::interpolate::{NO_SEGMENT, OUTSIDE, Scope, Template, Templates, Tree, is_omitted, text_of};
use crate::transform::place;

/// A request, compiled.
#[derive(Debug, Clone)]
pub struct RequestPlan {
    field: String,
    base_url: Template,
    path: PathTemplate,
    method: Method,
    params: Vec<(String, Tree)>,
    headers: Vec<(String, Template)>,
    body: BodyPlan,
}

#[derive(Debug, Clone)]
struct PathTemplate {
    template: Template,
    /// The path is put together from parts, so a value from outside must stay within its segment.
    is_composed: bool,
    ends_in_slash: bool,
}

#[derive(Debug, Clone)]
enum BodyPlan {
    Empty,
    Json(Tree),
    Form(Vec<(String, Tree)>),
    Text(Template),
    Multipart(Vec<(String, Tree)>),
}

/// Something a paginator, cursor or slice puts into a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    pub at: Placed,
    pub value: Value,
}

impl RequestPlan {
    /// `field` says where the request stands, as in `stream issues`.
    pub fn new(templates: &Templates, field: &str, http: &HttpSpec, request: &Request) -> Result<Self> {
        let body = body_plan(templates, field, request)?;
        let default = if matches!(body, BodyPlan::Empty) {
            "GET"
        } else {
            "POST"
        };
        let method = request.method.as_deref().unwrap_or(default).to_ascii_uppercase();
        let method = method.parse::<Method>().map_err(|error| {
            Error::spec(format!("{field}: '{method}' is not an HTTP method"))
                .caused_by(error)
                .hint("write GET, POST, PUT, PATCH or DELETE")
        })?;
        let mut params = compile_all(templates, &format!("{field}: params"), &http.params)?;
        for (name, value) in compile_all(templates, &format!("{field}: params"), &request.params)? {
            params.retain(|(other, _)| *other != name);
            params.push((name, value));
        }
        let mut headers: Vec<(String, Template)> = Vec::new();
        for (name, text) in http.headers.iter().chain(&request.headers) {
            let header = templates.compile(format!("{field}: headers.{name}"), text)?;
            headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            headers.push((name.clone(), header));
        }
        let is_whole = request.path.trim_start().starts_with("{{")
            && request.path.matches("{{").count() == 1
            && request.path.trim_end().ends_with("}}");
        Ok(Self {
            base_url: templates.compile(format!("{field}: http.base_url"), &http.base_url)?,
            path: PathTemplate {
                template: templates.compile(format!("{field}: path"), &request.path)?,
                is_composed: !is_whole && !request.path.contains("urlencode"),
                ends_in_slash: request.path.ends_with('/'),
            },
            field: field.to_owned(),
            method,
            params,
            headers,
            body,
        })
    }

    /// Whether any template in it names `variable`.
    pub fn uses(&self, variable: &str) -> bool {
        let in_body = match &self.body {
            BodyPlan::Empty => false,
            BodyPlan::Json(tree) => tree.uses(variable),
            BodyPlan::Form(fields) | BodyPlan::Multipart(fields) => {
                fields.iter().any(|(_, value)| value.uses(variable))
            }
            BodyPlan::Text(text) => text.uses(variable),
        };
        in_body
            || self.path.template.uses(variable)
            || self.params.iter().any(|(_, value)| value.uses(variable))
            || self.headers.iter().any(|(_, value)| value.uses(variable))
    }

    pub fn build(&self, scope: &Scope, injections: &[Injection], page_url: Option<&str>) -> Result<Outgoing> {
        let mut url = match page_url {
            Some(url) => self.parse_url(url)?,
            None => self.url(scope)?,
        };
        if page_url.is_none() {
            let mut params = self.render_params(&url, scope)?;
            for injection in injections {
                if let Placed::Param(name) = &injection.at {
                    params.retain(|(other, _)| other != name);
                    add_param(&mut params, name, injection.value.clone());
                }
            }
            set_query(&mut url, &params);
        }
        let mut outgoing = Outgoing::new(self.method.clone(), url);
        for (name, template) in &self.headers {
            let value = template.render_text(scope)?;
            if !value.is_empty() {
                outgoing.set_header(name, value);
            }
        }
        for injection in injections {
            if let Placed::Header(name) = &injection.at {
                outgoing.set_header(name, text_of(injection.value.clone()));
            }
        }
        outgoing.body = self.render_body(scope, injections)?;
        if !matches!(outgoing.body, Body::Empty)
            && outgoing.method == Method::GET
            && matches!(self.body, BodyPlan::Empty)
        {
            outgoing.method = Method::POST;
        }
        Ok(outgoing)
    }

    fn url(&self, scope: &Scope) -> Result<Url> {
        let template = &self.path.template;
        let path = if self.path.is_composed && OUTSIDE.iter().any(|name| template.uses(name)) {
            let path = template.render_text(&scope.with_encoded_segments()?)?;
            self.check_segments(path)?
        } else {
            template.render_text(scope)?
        };
        if path.starts_with("http://") || path.starts_with("https://") {
            return self.parse_url(&path);
        }
        let base = self.base_url.render_text(scope)?;
        let base = base.trim_end_matches('/');
        if base.is_empty() {
            return Err(Error::spec(format!(
                "{}: the path '{path}' is relative, and http.base_url is empty",
                self.field
            ))
            .hint("set http.base_url, as in https://api.example.com/v1"));
        }
        let path = path.trim_start_matches('/');
        match path.chars().next() {
            None | Some('?') => self.parse_url(&format!("{base}{path}")),
            Some(_) => self.parse_url(&format!("{base}/{path}")),
        }
    }

    /// A value that stands for a segment must be one: with none, or with one that leads up, the path is another's.
    fn check_segments(&self, path: String) -> Result<String> {
        let named = path.split(['?', '#']).next().unwrap_or_default();
        let named = named.split_once("://").map_or(named, |(_, rest)| rest);
        let is_called = self.path.template.uses("input");
        let ends_empty = named.ends_with('/') && !self.path.ends_in_slash;
        let fault = if path.contains(NO_SEGMENT) {
            "a value in it is '.' or '..', which is no name in a URL's path"
        } else if is_called && (ends_empty || named.contains("//")) {
            "a value in it is empty"
        } else {
            return Ok(path);
        };
        Err(
            Error::template(format!("{}: the path cannot be made: {fault}", self.field))
                .hint("leave such values out (of slices by 'when'), or send the value as a parameter"),
        )
    }

    fn parse_url(&self, text: &str) -> Result<Url> {
        Url::parse(text).map_err(|error| {
            Error::spec(format!("{}: the request's URL cannot be read", self.field))
                .with("url", text.split('?').next().unwrap_or_default())
                .caused_by(error)
                .hint("check http.base_url and path: together they must be https://host/path")
        })
    }

    /// The URL's own parameters, then those of the spec; of the same name the latter win.
    fn render_params(&self, url: &Url, scope: &Scope) -> Result<Vec<(String, String)>> {
        let mut params: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        for (name, tree) in &self.params {
            let value = tree.render(scope)?;
            params.retain(|(other, _)| other != name);
            let is_template = !matches!(tree, Tree::Fixed(_));
            if !(is_template && value.as_str() == Some("")) {
                add_param(&mut params, name, value);
            }
        }
        Ok(params)
    }

    fn render_body(&self, scope: &Scope, injections: &[Injection]) -> Result<Body> {
        let injected: Vec<(&str, &Value)> = injections
            .iter()
            .filter_map(|injection| match &injection.at {
                Placed::Body(path) => Some((path.as_str(), &injection.value)),
                Placed::Param(_) | Placed::Header(_) => None,
            })
            .collect();
        match &self.body {
            BodyPlan::Empty if injected.is_empty() => Ok(Body::Empty),
            BodyPlan::Empty => json_body(Value::Object(Map::new()), &injected),
            BodyPlan::Json(tree) => json_body(tree.render(scope)?, &injected),
            BodyPlan::Form(fields) => form_body(fields, &injected, scope),
            BodyPlan::Text(_) | BodyPlan::Multipart(_) if !injected.is_empty() => Err(Error::spec(format!(
                "{}: nothing can be put into a text or multipart body",
                self.field
            ))
            .hint("use json or form, or put it into a param or header")),
            BodyPlan::Multipart(fields) => multipart::body(&self.field, fields, scope),
            BodyPlan::Text(text) => Ok(Body::Text(text.render_text(scope)?)),
        }
    }
}

fn body_plan(templates: &Templates, field: &str, request: &Request) -> Result<BodyPlan> {
    let mut bodies = Vec::new();
    if let Some(json) = &request.json {
        bodies.push(BodyPlan::Json(
            templates.compile_tree(&format!("{field}: json"), json)?,
        ));
    }
    if let Some(form) = &request.form {
        bodies.push(BodyPlan::Form(compile_all(
            templates,
            &format!("{field}: form"),
            form,
        )?));
    }
    if let Some(text) = &request.text {
        bodies.push(BodyPlan::Text(templates.compile(format!("{field}: text"), text)?));
    }
    if let Some(graphql) = &request.graphql {
        let variables: Map<String, Value> = graphql.variables.clone().into_iter().collect();
        let tree = serde_json::json!({ "query": graphql.query, "variables": variables });
        bodies.push(BodyPlan::Json(
            templates.compile_tree(&format!("{field}: graphql"), &tree)?,
        ));
    }
    if let Some(fields) = &request.multipart {
        bodies.push(BodyPlan::Multipart(compile_all(
            templates,
            &format!("{field}: multipart"),
            fields,
        )?));
    }
    if bodies.len() > 1 {
        return Err(
            Error::spec(format!("{field}: the request has more than one body"))
                .hint("keep one of json, form, text, graphql and multipart"),
        );
    }
    Ok(bodies.pop().unwrap_or(BodyPlan::Empty))
}

fn compile_all<'a>(
    templates: &Templates,
    field: &str,
    values: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> Result<Vec<(String, Tree)>> {
    values
        .into_iter()
        .map(|(name, value)| {
            let value = templates.compile_tree(&format!("{field}.{name}"), value)?;
            Ok((name.clone(), value))
        })
        .collect()
}

/// A list repeats the parameter; null and `omit` leave it out.
fn add_param(params: &mut Vec<(String, String)>, name: &str, value: Value) {
    match value {
        Value::Null => {}
        value if is_omitted(&value) => {}
        Value::Array(items) => items.into_iter().for_each(|item| add_param(params, name, item)),
        other => params.push((name.to_owned(), text_of(other))),
    }
}

/// As a parameter; an object gives a field for each of its members (`metadata[order]`), a list with objects one for
/// each member of each (`items[0][price]`).
fn add_field(fields: &mut Vec<(String, String)>, name: &str, value: Value) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                add_field(fields, &format!("{name}[{member}]"), value);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.into_iter().enumerate() {
                add_field(fields, &format!("{name}[{index}]"), item);
            }
        }
        other => add_param(fields, name, other),
    }
}

fn set_query(url: &mut Url, params: &[(String, String)]) {
    if params.is_empty() {
        url.set_query(None);
    } else {
        url.query_pairs_mut().clear().extend_pairs(params);
    }
}

fn json_body(mut body: Value, injected: &[(&str, &Value)]) -> Result<Body> {
    for (path, value) in injected {
        place::set(&mut body, &Path::parse(path)?.steps, (*value).clone());
    }
    Ok(Body::Json(body.to_string().into()))
}

fn form_body(fields: &[(String, Tree)], injected: &[(&str, &Value)], scope: &Scope) -> Result<Body> {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        add_field(&mut pairs, name, value.render(scope)?);
    }
    for (name, value) in injected {
        pairs.retain(|(other, _)| other != name);
        add_field(&mut pairs, name, (*value).clone());
    }
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    Ok(Body::Form(form.extend_pairs(pairs).finish()))
}

#[cfg(test)]
mod tests;

//! Principals of a test: made by the operator, with a token each.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Answer, Api};

/// A principal and one API token of it.
#[derive(Clone)]
pub struct Somebody {
    pub id: String,
    pub token: String,
    pub token_id: String,
    pub api: Arc<Api>,
}

impl Somebody {
    /// Makes a user with this role on the installation.
    pub async fn new(api: &Arc<Api>, id: &str, role: &str) -> Somebody {
        let request = json!({ "id": id, "kind": "user", "role": role });
        let made = api.admin(Method::POST, "/api/v1/principals", &request).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let (token_id, token) = token_of(api, id).await;
        Somebody { id: id.to_owned(), token, token_id, api: Arc::clone(api) }
    }

    /// Makes a member of the installation with this role in a project.
    pub async fn in_project(api: &Arc<Api>, id: &str, project: &str, role: &str) -> Somebody {
        let somebody = Somebody::new(api, id, "member").await;
        let path = format!("/api/v1/projects/{project}/members/{id}");
        let put = api.admin(Method::PUT, &path, &json!({ "role": role })).await;
        assert_eq!(put.status, 200, "{}", put.text());
        somebody
    }

    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        call(&self.api, &self.token, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null).await
    }
}

/// A new token of a principal: its id and its text.
pub async fn token_of(api: &Arc<Api>, id: &str) -> (String, String) {
    let path = format!("/api/v1/principals/{id}/tokens");
    let made = api.admin(Method::POST, &path, &json!({ "name": "test" })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

/// A call with any token. Its answer is not searched for the canary: it may tell a token for the first time.
pub async fn call(api: &Arc<Api>, token: &str, method: Method, path: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("authorization", &authorization)] };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    api.try_send(method, path, headers, body).await.expect("an answer")
}

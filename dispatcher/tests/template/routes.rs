//! The HTTP API has the routes that the functions declare, and CORS as the dispatcher has it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::system::{System, call};
use super::{declared, function_name, metadata, resources, template, text};

type Routes = BTreeSet<(String, String)>;

/// The logical id of the function that is called: by its alias where deployments are gradual, else the function itself.
fn called(target: &Value) -> String {
    let id = text(&target["Fn::If"][2]["Fn::GetAtt"]).strip_suffix(".Arn").unwrap();
    let expected =
        json!(["DeploysGradually", {"Ref": format!("{id}.Alias")}, {"Fn::GetAtt": format!("{id}.Arn")}]);
    assert_eq!(target["Fn::If"], expected);
    id.to_owned()
}

/// The routes of each function in the template: method and path.
fn routes_of_the_template(template: &Value) -> BTreeMap<String, Routes> {
    let mut routes: BTreeMap<String, Routes> = BTreeMap::new();
    for route in resources(template, "AWS::ApiGatewayV2::Route").into_values() {
        let (method, path) = text(&route["Properties"]["RouteKey"]).split_once(' ').unwrap();
        let target = text(&route["Properties"]["Target"]["Fn::Sub"]);
        let integration = target.strip_prefix("integrations/${").and_then(|id| id.strip_suffix('}')).unwrap();
        let id = called(&template["Resources"][integration]["Properties"]["IntegrationUri"]);
        let function = function_name(template, &id);
        let fresh = routes.entry(function).or_default().insert((method.to_owned(), path.to_owned()));
        assert!(fresh, "{method} {path} stands twice");
    }
    routes
}

/// The routes that each function declares.
async fn declared_routes() -> BTreeMap<String, Routes> {
    let mut routes: BTreeMap<String, Routes> = BTreeMap::new();
    for route in declared().await.0 {
        let of_the_function = routes.entry(route.function.to_owned()).or_default();
        of_the_function.insert((route.method.to_string(), route.path.to_owned()));
    }
    routes
}

#[tokio::test]
async fn each_function_has_the_routes_of_its_router() {
    assert_eq!(routes_of_the_template(&template()), declared_routes().await);
}

/// With an issuer, every route needs the issuer's tokens. The rate of requests is limited for all routes alike.
#[test]
fn every_route_is_guarded_alike() {
    let template = template();
    let of_type = |kind: &str| resources(&template, &format!("AWS::ApiGatewayV2::{kind}"));
    for (id, route) in of_type("Route") {
        let route = &route["Properties"];
        assert_eq!(route["AuthorizationType"]["Fn::If"], json!(["HasJwt", "JWT", "NONE"]), "{id}");
        let authorizer = json!(["HasJwt", {"Ref": "Authorizer"}, {"Ref": "AWS::NoValue"}]);
        assert_eq!(route["AuthorizerId"]["Fn::If"], authorizer, "{id}");
    }
    assert_eq!(template["Resources"]["Authorizer"]["Condition"], "HasJwt");
    let stages = of_type("Stage");
    let limits = &stages["Stage"]["Properties"]["DefaultRouteSettings"];
    assert_eq!((stages.len(), stages["Stage"]["Properties"].get("RouteSettings")), (1, None));
    assert_eq!(limits["ThrottlingRateLimit"], json!({"Ref": "RequestsPerSecond"}));
    assert_eq!(limits["ThrottlingBurstLimit"], json!({"Ref": "RequestBurst"}));
}

#[test]
fn the_api_may_invoke_each_function_that_it_has_and_no_other() {
    let template = template();
    let by = |kind: &str, property: &str| -> BTreeSet<String> {
        let named = resources(&template, kind).into_values();
        named.map(|resource| function_name(&template, &called(&resource["Properties"][property]))).collect()
    };
    let routed = by("AWS::ApiGatewayV2::Integration", "IntegrationUri");
    let allowed = by("AWS::Lambda::Permission", "FunctionName");
    assert_eq!(allowed, routed);
    assert_eq!(routed, routes_of_the_template(&template).into_keys().collect());
}

/// `cargo lambda watch` reads these routes from `Cargo.toml`.
#[tokio::test]
async fn the_router_of_cargo_lambda_has_the_same_routes() {
    let metadata = metadata();
    let router = metadata["metadata"]["lambda"]["watch"]["router"].as_object().unwrap();
    let mut routes: BTreeMap<String, Routes> = BTreeMap::new();
    for (path, functions) in router {
        for route in functions.as_array().unwrap() {
            let of_the_function = routes.entry(text(&route["function"]).to_owned()).or_default();
            assert!(of_the_function.insert((text(&route["method"]).to_owned(), path.clone())));
        }
    }
    assert_eq!(routes, declared_routes().await);
}

#[test]
fn the_system_answers_the_methods_of_the_template_and_no_others() {
    let mut by_path: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in routes_of_the_template(&template()).into_values().flatten() {
        by_path.entry(path).or_default().insert(method);
    }
    let system = System::start();
    for (path, methods) in by_path {
        let path = path.replace("{id}", "an-order").replace("{version}", "1");
        let answer = call(&system.api, &format!("PUT {path}"), &[], "");
        let allowed = answer.headers.get("allow").unwrap_or_else(|| panic!("PUT {path}: {}", answer.body));
        let allowed = allowed.split(',').map(|method| method.trim().to_owned()).collect();
        assert_eq!(methods, allowed, "{path}");
    }
}

#[test]
fn the_api_says_to_a_preflight_what_the_system_says() {
    let template = template();
    let cors = &template["Resources"]["Api"]["Properties"]["CorsConfiguration"];
    let system = System::start();
    let origin = ("origin", "https://shop.example");
    let preflight = [origin, ("access-control-request-method", "POST")];
    let preflight = call(&system.api, "OPTIONS /", &preflight, "");
    let answer = call(&system.api, "GET /", &[origin], "");
    for (property, answer, header) in [
        ("AllowMethods", &preflight, "access-control-allow-methods"),
        ("AllowHeaders", &preflight, "access-control-allow-headers"),
        ("ExposeHeaders", &answer, "access-control-expose-headers"),
    ] {
        let said = answer.headers[header].split(',').map(str::trim);
        let written = cors[property].as_array().unwrap().iter().map(text);
        assert_eq!(written.collect::<BTreeSet<_>>(), said.collect(), "{property}");
    }
    assert_eq!(cors["MaxAge"].to_string(), preflight.headers["access-control-max-age"]);
}

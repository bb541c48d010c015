// SPDX-License-Identifier: Apache-2.0
// pinhole policy explain.
#include <fmt/ranges.h>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/command_policy.h"
#include "cli/policy_words.h"
#include "cli/terminal.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

/// A decision and what stands beside it.
struct Explanation {
  policy::Request request;
  policy::Verdict verdict;
  std::vector<policy::SecretSpec> secrets;  // that may be put into this request
  std::vector<policy::MatchingRule> matching;
  std::optional<http::Endpoint> internal;
  std::string policy_hash;
};

/// Secrets go into inspected requests over verified TLS, to their hosts, by a rule that lets them.
std::vector<policy::SecretSpec> secrets_of(const policy::Policy& policy,
                                           const policy::Request& request,
                                           const policy::Verdict& verdict) {
  std::vector<policy::SecretSpec> found;
  if (!verdict.allowed() || request.way != policy::Way::request ||
      request.scheme != http::Scheme::https) {
    return found;
  }
  for (const policy::SecretSpec& secret : policy.secrets()) {
    const bool named = !verdict.secrets ||
                       std::ranges::find(*verdict.secrets, secret.name) != verdict.secrets->end();
    if (named && secret.may_go_to(request.host)) found.push_back(secret);
  }
  return found;
}

Explanation explain(const policy::Policy& policy, policy::Request request) {
  Explanation out{.request = std::move(request), .policy_hash = policy.hash()};
  out.verdict = policy.decide(out.request);
  out.secrets = secrets_of(policy, out.request, out.verdict);
  out.matching = policy.matching_rules(out.request);
  out.internal = policy.internal_address(out.request.host, out.request.port);
  return out;
}

std::string limits_text(const policy::RuleLimits& limits) {
  std::string text =
      fmt::format("request body {}, response body {}", format_size(limits.request_body),
                  format_size(limits.response_body));
  if (limits.rate) text += ", " + policy::to_string(*limits.rate);
  if (limits.concurrent) text += fmt::format(", {} at a time", *limits.concurrent);
  return text;
}

std::string place_text(const policy::SecretSpec& secret) {
  std::string text = fmt::format("{} in {}", secret.name, secret.header);
  if (secret.in_query) text += ", the query";
  if (secret.in_body) text += ", the body";
  return text;
}

/// What becomes of an allowed CONNECT; an allowed request needs no words.
std::string_view handling_text(const Explanation& out) {
  if (out.request.way != policy::Way::connect) return "";
  switch (out.verdict.handling) {
    case policy::Handling::inspect:
      return "looked into; each request inside is decided by its own URL";
    case policy::Handling::tunnel:
      return "TLS passes untouched, if its server name is the host";
    case policy::Handling::raw:
      return "bytes pass unseen";
  }
  return "";
}

void print_field(std::string_view name, std::string_view text) {
  if (!text.empty()) print_line(fmt::format("  {:<8} {}", name, printable(text)));
}

void print_allowed(const Explanation& out) {
  const policy::Verdict& verdict = out.verdict;
  print_field("inside", handling_text(out));
  if (out.request.way == policy::Way::request || verdict.handling != policy::Handling::inspect) {
    print_field("limits", limits_text(verdict.limits));
  }
  std::vector<std::string> secrets;
  for (const policy::SecretSpec& secret : out.secrets) secrets.push_back(place_text(secret));
  print_field("secrets", fmt::format("{}", fmt::join(secrets, "; ")));
  if (out.internal) print_field("leads to", http::to_string(*out.internal));
}

void print_text(const Explanation& out) {
  const policy::Verdict& verdict = out.verdict;
  print_line(fmt::format("{}  {}", verdict.allowed() ? green("allow") : red("deny"),
                         printable(out.request.text())));
  print_field("rule",
              verdict.rule == "default" ? "none: what nothing allows is denied" : verdict.rule);
  print_field("reason", verdict.reason);
  if (verdict.allowed()) print_allowed(out);
  std::vector<std::string> others;
  for (const policy::MatchingRule& match : out.matching) {
    if (match.rule != verdict.rule)
      others.push_back(fmt::format("{} ({})", match.rule, match.list));
  }
  print_field("also", fmt::format("{}", fmt::join(others, ", ")));
  if (!verdict.allowed() && verdict.rule == "default") {
    const bool is_connect = out.request.way == policy::Way::connect;
    print_field("to allow",
                fmt::format("egress.allow:  - {}",
                            is_connect ? fmt::format("https://{}:{}", out.request.host.in_url(),
                                                     out.request.port)
                                       : out.request.text()));
  }
}

json::object to_json(const Explanation& out) {
  const policy::Verdict& verdict = out.verdict;
  json::array matching;
  for (const policy::MatchingRule& match : out.matching) {
    matching.push_back(json::object{{"rule", match.rule}, {"list", match.list}});
  }
  json::object object{{"request", out.request.text()},
                      {"action", to_string(verdict.action)},
                      {"rule", verdict.rule},
                      {"reason", verdict.reason},
                      {"matching", std::move(matching)},
                      {"policy", out.policy_hash}};
  if (!verdict.allowed()) return object;
  json::object limits{{"request_body", verdict.limits.request_body},
                      {"response_body", verdict.limits.response_body}};
  if (verdict.limits.rate) limits["rate"] = policy::to_string(*verdict.limits.rate);
  if (verdict.limits.concurrent) limits["concurrent"] = *verdict.limits.concurrent;
  json::array secrets;
  for (const policy::SecretSpec& secret : out.secrets) {
    secrets.push_back(json::object{{"name", secret.name},
                                   {"header", secret.header},
                                   {"query", secret.in_query},
                                   {"body", secret.in_body}});
  }
  object["handling"] = to_string(verdict.handling);
  object["limits"] = std::move(limits);
  object["secrets"] = std::move(secrets);
  if (out.internal) object["address"] = http::to_string(*out.internal);
  return object;
}

Result<int> run_explain(const std::string& method, const std::string& target,
                        const PolicyWords& words) {
  PINHOLE_TRY(policy::Request request, read_request(method, target));
  PINHOLE_TRY(const policy::Policy policy, chosen_policy(words));
  const Explanation out = explain(policy, std::move(request));
  if (words.json) {
    print_json(json::serialize(to_json(out)));
  } else {
    print_text(out);
  }
  return out.verdict.allowed() ? 0 : 1;
}

}  // namespace

void add_policy_explain(Commands& commands, CLI::App& parent) {
  CLI::App& command =
      commands.add("explain", "Say what the door would do with a request, and by which rule",
                   "  pinhole policy explain GET https://api.github.com/repos/a/b\n"
                   "  pinhole policy explain CONNECT db.example.com:5432 --policy policy.yaml\n"
                   "  pinhole policy explain --vm web POST https://api.github.com/gists",
                   &parent);
  auto method = std::make_shared<std::string>();
  auto target = std::make_shared<std::string>();
  auto words = std::make_shared<PolicyWords>();
  command.add_option("METHOD", *method, "GET, POST, … or CONNECT")->required();
  command.add_option("TARGET", *target, "a URL; of CONNECT host:port")->required();
  add_policy_words(command, *words);
  add_vm_word(command, *words);
  commands.on(command, [=] { return run_explain(*method, *target, *words); });
}

}  // namespace pinhole::cli

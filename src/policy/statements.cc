// SPDX-License-Identifier: Apache-2.0
// What a policy says, line by line.
#include <algorithm>

#include <fmt/ranges.h>

#include "policy/policy.h"
#include "policy/tables.h"

namespace pinhole::policy {
namespace {

class Statements {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> text, Args&&... args) {
    lines_.push_back(fmt::format(text, std::forward<Args>(args)...));
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  std::vector<std::string> lines_;
};

void add_rules(Statements& out, const Tables& tables) {
  for (const std::string& preset : tables.presets) out.add("use {}", preset);
  for (const Rule& rule : tables.allow_rules) {
    // What a preset says is the preset's name.
    if (!rule.id.starts_with("preset:")) out.add("allow {}", text_of(rule));
  }
  for (const Rule& rule : tables.deny_rules) out.add("deny {}", text_of(rule));
  for (const Ceiling& ceiling : tables.ceilings) {
    // Each layer's own holds, so that which rules stand together matters.
    std::vector<std::string> texts;
    for (const Rule& rule : ceiling.rules) texts.push_back(text_of(rule));
    out.add("ceiling of {}", fmt::join(texts, ", "));
  }
}

void add_secret(Statements& out, const SecretSpec& secret) {
  std::vector<std::string> hosts;
  for (const HostPattern& host : secret.hosts) hosts.push_back(host.text());
  out.add("secret {} from {} in {}{}{} to {}{}", secret.name, secret.from, secret.header,
          secret.in_query ? ", query" : "", secret.in_body ? ", body" : "", fmt::join(hosts, ", "),
          secret.placeholder.empty() ? "" : ", placeholder " + secret.placeholder);
}

void add_ways(Statements& out, const Tables& tables) {
  for (const auto& [place, address] : tables.internal) {
    const auto is_builtin = [&](const Builtin& builtin) { return builtin.address == address; };
    if (std::ranges::any_of(tables.builtins, is_builtin)) continue;
    out.add("internal {} -> {}", place, http::to_string(address));
  }
  for (const auto& [host, file] : tables.ca) out.add("ca {}: {}", host, file);
  for (const http::Endpoint& server : tables.resolver)
    out.add("resolver {}", http::to_string(server));
  if (tables.upstream_proxy) {
    out.add("upstream_proxy http://{}:{}", tables.upstream_proxy->host.in_url(),
            tables.upstream_proxy->port);
  }
}

void add_limits(Statements& out, const Limits& limits) {
  out.add("limit connections {}", limits.connections);
  out.add("limit request_body {}", limits.bodies.request_body);
  out.add("limit response_body {}", limits.bodies.response_body);
  out.add("limit header_bytes {}", limits.header_bytes);
  out.add("limit idle {}ms", limits.idle.count());
  if (limits.rate) out.add("limit rate {}", to_string(*limits.rate));
  if (limits.concurrent) out.add("limit concurrent {}", *limits.concurrent);
}

void add_audit(Statements& out, const Tables& tables) {
  constexpr std::string_view kBodies[] = {"size", "digest"};
  constexpr std::string_view kSync[] = {"off", "batch", "each"};
  out.add("audit bodies {}", kBodies[static_cast<std::size_t>(tables.audit.bodies)]);
  out.add("audit sync {}", kSync[static_cast<std::size_t>(tables.audit.sync)]);
  for (const std::string& name : tables.redact) out.add("audit redact {}", name);
}

}  // namespace

std::vector<std::string> Policy::statements() const {
  Statements out;
  add_rules(out, *tables_);
  for (const SecretSpec& secret : tables_->secrets) add_secret(out, secret);
  add_ways(out, *tables_);
  add_limits(out, tables_->limits);
  add_audit(out, *tables_);
  return out.take();
}

}  // namespace pinhole::policy

// SPDX-License-Identifier: Apache-2.0
#include "pep/admission.h"

#include <utility>

#include "base/printable.h"
#include "base/shell_word.h"

namespace pinhole::pep {
namespace {

Refusal audit_unavailable(const Error& error) {
  return {.code = "audit_unavailable",
          .detail = "the audit record could not be written, so nothing was sent: " + error.message};
}

std::expected<std::vector<http::Endpoint>, Refusal> require_public(const http::Host& host,
                                                                   std::uint16_t port,
                                                                   const Addresses& addresses) {
  std::vector<http::Endpoint> endpoints;
  for (const auto& address : addresses) {
    const auto kind = http::classify(address);
    if (!kind.is_public) {
      Refusal refusal{.code = "ssrf_blocked",
                      .detail = fmt::format("{} leads to {}, which is not a public address ({})",
                                            host.name, http::to_string(address), kind.name)};
      refusal.fix =
          fmt::format("add to your own policy file, if it is meant:  internal: [\"{}:{} -> {}\"]",
                      host.in_url(), port, http::to_string(http::Endpoint{address, port}));
      return std::unexpected(std::move(refusal));
    }
    endpoints.push_back({.address = address, .port = port});
  }
  return endpoints;
}

/// Of a method and those that headers name in its place, the one that was refused.
std::string refused_method(const policy::Policy& policy, const policy::Request& request) {
  policy::Request single = request;
  single.other_methods.clear();
  if (!policy.decide(single).allowed()) return request.method;
  for (const std::string& method : request.other_methods) {
    single.method = method;
    if (http::is_token(method) && !policy.decide(single).allowed()) return method;
  }
  return request.method;
}

/// The whole of it; Request::text() is for reading and may leave the end of a path out.
std::string target_of(const policy::Request& request) {
  if (request.way == policy::Way::connect)
    return fmt::format("{}:{}", request.host.in_url(), request.port);
  const http::Url url{
      .scheme = request.scheme, .host = request.host, .port = request.port, .path = request.path};
  return url.text();
}

/// What tells the user which rules spoke, and the line that would allow it.
std::string way_to_understand(const policy::Policy& policy, policy::Request request) {
  request.method = refused_method(policy, request);
  std::string command = explain_command(request.method, target_of(request));
  if (!command.empty()) return command;
  return fmt::format("pinhole audit query --code denied_by_policy --host {}",
                     shell_word(request.host.in_url()));
}

bool is_ssh(const policy::Request& request) {
  return request.way == policy::Way::connect && request.port == policy::kSshPort;
}

/// An ssh client shows nothing of an answer, and its bytes cannot be looked into. Most often it is
/// git's, which can do the same over https.
Refusal refuse_ssh(const policy::Request& request, policy::Verdict verdict) {
  const std::string host = request.host.in_url();
  return {.code = "denied_by_policy",
          .detail = verdict.reason + "; ssh is not looked into, but git also goes over https",
          .rule = std::move(verdict.rule),
          .fix = request.host.ip
                     ? fmt::format("use an https:// address with git, or allow tcp://{}:22", host)
                     : fmt::format("git config --global url.\"https://{0}/\".insteadOf git@{0}:",
                                   host)};
}

/// Without an authority TLS cannot be looked into: where it may be spoken, only what could not be refused inside may pass.
bool is_hidden(const Door& door, const policy::Request& request, const policy::Verdict& verdict) {
  return request.way == policy::Way::connect && !door.tls_server &&
         request.port != policy::kHttpPort && verdict.handling == policy::Handling::inspect &&
         !verdict.whole_host;
}

}  // namespace

Refusal record_refusal(Door& door, const RequestNote& note, Refusal refusal) {
  const auto written = door.audit.deny(note, refusal.code, status_of(refusal));
  if (!written) return audit_unavailable(written.error());
  return refusal;
}

std::expected<policy::Verdict, Refusal> judge(const Door& door, const policy::Request& request,
                                              RequestNote& note, std::uint64_t declared_body) {
  policy::Verdict verdict = door.policy.decide(request);
  note.rule = verdict.rule;
  if (!verdict.allowed() && is_ssh(request)) {
    Refusal refusal = refuse_ssh(request, std::move(verdict));
    note.advice = refusal.fix;
    return std::unexpected(std::move(refusal));
  }
  if (!verdict.allowed()) {
    return std::unexpected(Refusal{.code = "denied_by_policy",
                                   .detail = verdict.reason,
                                   .rule = verdict.rule,
                                   .fix = way_to_understand(door.policy, request)});
  }
  if (is_hidden(door, request, verdict)) {
    return std::unexpected(
        Refusal{.code = "denied_by_policy",
                .detail = fmt::format("what is inside a CONNECT to {}:{} cannot be looked into",
                                      request.host.in_url(), request.port),
                .rule = verdict.rule,
                .fix = "start the PEP with --authority, or ask for the https:// URL in absolute "
                       "form"});
  }
  if (declared_body > verdict.limits.request_body) {
    return std::unexpected(Refusal{
        .code = "constraint_violation",
        .detail = fmt::format("the request's body of {} bytes is over the limit of {} bytes",
                              declared_body, verdict.limits.request_body),
        .rule = verdict.rule});
  }
  return verdict;
}

std::expected<Limiter::Slot, Refusal> admit(Door& door, const policy::Verdict& verdict) {
  auto slot = door.limiter.admit(verdict.rule, {verdict.limits, door.policy.limits()},
                                 std::chrono::system_clock::now());
  if (slot) return *std::move(slot);
  return std::unexpected(Refusal{.code = "rate_limited",
                                 .detail = "no more than " + slot.error().which,
                                 .rule = verdict.rule,
                                 .fix = "wait, or raise the limit in the policy",
                                 .retry_after = slot.error().retry_after});
}

std::optional<Refusal> record_allowed(Door& door, const RequestNote& note) {
  const auto written = door.audit.allow(note);
  if (!written) return audit_unavailable(written.error());
  return std::nullopt;
}

/// The user's word, wherever it leads.
static asio::awaitable<std::expected<std::vector<http::Endpoint>, Refusal>> find_proxy(
    Door* door, policy::UpstreamProxy proxy) {
  if (const auto internal = door->policy.internal_address(proxy.host, proxy.port))
    co_return std::vector<http::Endpoint>{*internal};
  Addresses addresses;
  if (proxy.host.ip) {
    addresses.push_back(*proxy.host.ip);
  } else {
    auto found = co_await door->resolver.resolve(proxy.host.name);
    if (!found) {
      co_return std::unexpected(
          Refusal{.code = found.error().code == "timeout" ? "timeout" : "dns_error",
                  .detail = "the upstream proxy: " + found.error().message});
    }
    addresses = *std::move(found);
  }
  std::vector<http::Endpoint> endpoints;
  for (const auto& address : addresses)
    endpoints.push_back({.address = address, .port = proxy.port});
  co_return endpoints;
}

asio::awaitable<std::expected<std::vector<http::Endpoint>, Refusal>> find_addresses(
    Door* door, http::Host host, std::uint16_t port) {
  if (const auto internal = door->policy.internal_address(host, port)) {
    co_return std::vector<http::Endpoint>{*internal};
  }
  if (host.ip) {
    auto checked = require_public(host, port, {*host.ip});
    if (!checked || !door->policy.upstream_proxy()) co_return checked;
  }
  if (const auto proxy = door->policy.upstream_proxy()) {
    auto endpoints = co_await find_proxy(door, *proxy);
    co_return endpoints;
  }
  auto addresses = co_await door->resolver.resolve(host.name);
  if (!addresses) {
    const std::string_view code = addresses.error().code == "timeout" ? "timeout" : "dns_error";
    co_return std::unexpected(Refusal{.code = code, .detail = addresses.error().message});
  }
  co_return require_public(host, port, *addresses);
}

}  // namespace pinhole::pep

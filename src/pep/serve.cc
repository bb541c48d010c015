// SPDX-License-Identifier: Apache-2.0
#include "pep/serve.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "pep/admission.h"
#include "pep/credentials.h"
#include "secret/headers.h"

namespace pinhole::pep {
namespace {

constexpr std::string_view kCutByReload = "cut: the new policy refuses it";

bool prefers_html(const http::RequestHead& head) {
  const auto accepted = http::list_values(head.headers, "accept");
  return std::ranges::any_of(accepted, [](std::string_view type) {
    return http::iequals(type.substr(0, type.find(';')), "text/html");
  });
}

bool has_body(const http::RequestHead& head) {
  return head.framing == http::Framing::chunked || head.content_length > 0;
}

bool is_grpc(const http::RequestHead& head) {
  const std::string* type = http::find_header(head.headers, "content-type");
  return type != nullptr && type->starts_with("application/grpc");
}

std::string url_for_audit(const http::RequestHead& head) {
  if (head.is_connect()) return fmt::format("{}:{}", head.url.host.in_url(), head.url.port);
  return audit::redact_url(head.url.text());
}

bool write_end(Door& door, const RequestNote& note, const ExchangeEnd& end) {
  const auto written = door.audit.end(note, end);
  if (!written) log(LogLevel::error, "{}", written.error().message);
  return written.has_value();
}

/// What goes upstream where secrets are in play.
struct Outgoing {
  bool changed = false;
  std::vector<http::Header> headers;
  std::string query;
  std::shared_ptr<const secret::MaskTable> masks;
  std::optional<secret::BodyRewriter> rewriter;
};

std::optional<Refusal> put_secrets_in(const Door& door, const http::RequestHead& head,
                                      const policy::Verdict& verdict, RequestNote& note,
                                      Outgoing& out) {
  if (door.vault.empty()) return std::nullopt;
  const auto allowed = allowed_secrets(door.policy, verdict, head.url.host);
  const secret::Route route{.method = head.method,
                            .host = head.url.host.name,
                            .verified_tls = head.url.scheme == http::Scheme::https,
                            .allowed = allowed};
  out.changed = true;
  out.headers = head.headers;
  out.query = head.url.query;
  auto used = door.vault.rewrite(route, head.url.path, out.headers, out.query);
  if (!used) {
    return Refusal{.code = used.error().code,
                   .detail = used.error().detail,
                   .rule = verdict.rule,
                   .fix = used.error().fix};
  }
  note.secrets = *std::move(used);
  if (!secrets_of_host(door.policy, head.url.host).empty()) {
    secret::ask_for_plain_bytes(out.headers);
    out.masks = door.vault.masks();
  }
  const std::string* type = http::find_header(head.headers, "content-type");
  if (has_body(head)) {
    out.rewriter = door.vault.body_rewriter(route, secret::body_form(type != nullptr ? *type : ""));
  }
  return std::nullopt;
}

Served refused(Door& door, const RequestNote& note, Refusal refusal) {
  return {.refusal = record_refusal(door, note, std::move(refusal))};
}

}  // namespace

RequestNote begin_request(Door& door, const http::RequestHead& head,
                          const std::optional<Inside>& inside) {
  ++door.stats.requests;
  return {.id = door.audit.next_id(),
          .method = head.method,
          .url = url_for_audit(head),
          .claim = inside ? inside->claim : http::client_claim(head.headers)};
}

Refusal refuse_unread(Door& door, RequestNote& note, const http::Fault& fault,
                      const std::optional<Inside>& inside) {
  ++door.stats.requests;
  note.id = door.audit.next_id();
  if (inside) note.claim = inside->claim;
  return record_refusal(door, note,
                        {.code = fault.code, .status = fault.status, .detail = fault.detail});
}

AnswerContext answer_context(const Door& door, const http::RequestHead* head,
                             const RequestNote& note) {
  return {.method = note.method,
          .policy = door.policy.hash(),
          .request = note.id,
          .wants_html = head != nullptr && prefers_html(*head),
          .is_grpc = head != nullptr && is_grpc(*head)};
}

asio::awaitable<Served> serve(Door* door, Carrier* carrier, const http::RequestHead* head,
                              RequestNote* note, Client* client) {
  if (head->method == "HEAD" && has_body(*head)) {
    co_return refused(*door, *note,
                      {.code = "invalid_request", .detail = "a HEAD request with a body"});
  }
  const policy::Request request = policy::Request::of(*head);
  auto verdict = judge(*door, request, *note, head->content_length);
  if (!verdict) co_return refused(*door, *note, std::move(verdict).error());
  Outgoing out;
  if (auto blocked = put_secrets_in(*door, *head, *verdict, *note, out))
    co_return refused(*door, *note, *std::move(blocked));
  const auto slot = admit(*door, *verdict);
  if (!slot) co_return refused(*door, *note, slot.error());
  if (auto unwritten = record_allowed(*door, *note)) co_return Served{.refusal = unwritten};

  UnderWay here(door->under_way, request, [carrier, client] {
    if (!carrier->running()) return;
    carrier->guest_gone();
    client->abort();
  });
  auto endpoints = co_await find_addresses(door, head->url.host, head->url.port);
  if (!endpoints) {
    const Refusal& refusal = endpoints.error();
    write_end(
        *door, *note,
        {.status = status_of(refusal), .code = std::string(refusal.code), .note = refusal.detail});
    co_return Served{.refusal = std::move(endpoints).error()};
  }
  if (here.was_cut() || client->is_gone()) {
    write_end(*door, *note,
              {.note = here.was_cut() ? std::string(kCutByReload) : "the guest left"});
    co_return Served{};
  }
  ExchangeJob job{.head = head,
                  .headers = out.changed ? &out.headers : nullptr,
                  .query = std::move(out.query),
                  .limits = verdict->limits,
                  .endpoints = *std::move(endpoints),
                  .masks = std::move(out.masks),
                  .rewriter = std::move(out.rewriter)};
  ExchangeResult result;
  try {
    result = co_await carrier->run(std::move(job), client);
  } catch (...) {
    write_end(*door, *note, {.note = "a fault of the door"});
    throw;
  }
  if (here.was_cut()) result.end.note = kCutByReload;
  const bool written = write_end(*door, *note, result.end);
  co_return Served{.refusal = std::move(result.refusal), .whole = result.whole && written};
}

}  // namespace pinhole::pep

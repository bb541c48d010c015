// SPDX-License-Identifier: Apache-2.0
#include "pep/audit_log.h"

#include <utility>

#include "sys/user.h"

namespace pinhole::pep {

using audit::Kind;

namespace {

/// Borrowed from the note.
audit::Claim claim_of(const RequestNote& note) {
  if (!note.claim) return {};
  return {.program = note.claim->program, .uid = note.claim->uid, .pid = note.claim->pid};
}

}  // namespace

AuditLog::AuditLog(audit::Writer writer, Start start)
    : writer_(std::move(writer)),
      start_(std::move(start)),
      id_prefix_("r-" + sys::random_hex(4) + "-") {}

Result<AuditLog> AuditLog::open(const std::filesystem::path& path, Start start,
                                audit::WriterLimits limits) {
  PINHOLE_TRY(audit::Writer writer,
              audit::Writer::open(path, {.vm = start.vm, .boot = start.boot}, limits));
  return AuditLog(std::move(writer), std::move(start));
}

std::string AuditLog::next_id() { return fmt::format("{}{:x}", id_prefix_, ++last_id_); }

Result<void> AuditLog::start() {
  if (started_) return {};
  PINHOLE_TRY_VOID(
      writer_.append({.kind = Kind::start, .policy = start_.policy, .image = start_.image}));
  started_ = true;
  return {};
}

Result<void> AuditLog::allow(const RequestNote& request) {
  PINHOLE_TRY_VOID(start());
  return writer_.append({.kind = Kind::decision,
                         .request = request.id,
                         .method = request.method,
                         .url = request.url,
                         .rule = request.rule,
                         .action = request.action,
                         .policy = start_.policy,
                         .claim = claim_of(request),
                         .secrets = request.secrets});
}

Result<void> AuditLog::deny(const RequestNote& request, std::string_view code, int status) {
  PINHOLE_TRY_VOID(start());
  return writer_.append_denial({.kind = Kind::decision,
                                .request = request.id,
                                .method = request.method,
                                .url = request.url,
                                .rule = request.rule,
                                .action = "deny",
                                .code = code,
                                .policy = start_.policy,
                                .note = request.advice,
                                .claim = claim_of(request),
                                .status = status});
}

Result<void> AuditLog::end(const RequestNote& request, const ExchangeEnd& end) {
  PINHOLE_TRY_VOID(start());
  return writer_.append({.kind = Kind::end,
                         .request = request.id,
                         .method = request.method,
                         .url = request.url,
                         .rule = request.rule,
                         .address = end.address,
                         .code = end.code,
                         .note = end.note,
                         .secrets = end.secrets,
                         .sent_digest = end.request_digest,
                         .received_digest = end.response_digest,
                         .status = end.status,
                         .sent = end.sent,
                         .received = end.received,
                         .duration = std::chrono::duration_cast<std::chrono::microseconds>(
                             std::chrono::steady_clock::now() - request.started)});
}

Result<void> AuditLog::flush() {
  if (!started_) return {};
  return writer_.flush_denials();
}

Result<void> AuditLog::set_policy(const std::string& hash) {
  if (hash == start_.policy) return {};
  PINHOLE_TRY_VOID(start());
  const std::string note = fmt::format("policy changed from {} to {}", start_.policy, hash);
  PINHOLE_TRY_VOID(writer_.append({.kind = Kind::policy, .policy = hash, .note = note}));
  start_.policy = hash;
  return {};
}

Result<void> AuditLog::note(std::string_view text) {
  PINHOLE_TRY_VOID(start());
  return writer_.append({.kind = audit::Kind::note, .note = text});
}

Result<void> AuditLog::seal() {
  PINHOLE_TRY_VOID(start());
  return writer_.seal();
}

}  // namespace pinhole::pep

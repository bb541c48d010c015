// SPDX-License-Identifier: Apache-2.0
// The PEP's side of the audit log: request ids, the start record, and one function per event.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/writer.h"
#include "base/error.h"
#include "http/client_claim.h"

namespace pinhole::pep {

/// What all records of one request share.
struct RequestNote {
  std::string id;
  std::string method;
  std::string url;  // redacted
  std::string rule;
  /// How allow() says that it is let through: "allow", "intercept", "tunnel", "raw".
  std::string_view action = "allow";
  std::optional<http::ClientClaim> claim = {};  // of the program, by the guest's word
  std::string advice = {};                      // the note of a refusal's record
  std::vector<std::string> secrets = {};        // names of those that go in
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
};

/// How an allowed exchange ended.
struct ExchangeEnd {
  std::string address;
  std::optional<int> status = {};
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::string code = {};  // empty: it went well
  std::string note = {};
  /// SHA-256 of the body as it went, hexadecimal; where `audit: {bodies: digest}` asks for it.
  std::string request_digest = {};
  std::string response_digest = {};
  std::vector<std::string> secrets = {};  // names of those that went into the body
};

/// One per process. Each function's error means "the record is not written": the caller refuses
/// with `audit_unavailable` and sends nothing upstream. The start record is tried again before each
/// record until it could be written, so a disk that is full at the start is not the end.
class AuditLog {
 public:
  struct Start {
    std::string vm;
    std::string boot;
    std::string image;
    std::string policy;
  };
  static Result<AuditLog> open(const std::filesystem::path& path, Start start,
                               audit::WriterLimits limits = {});

  /// "r-5f3a9c1e-1a": unique over restarts.
  std::string next_id();
  Result<void> start();
  Result<void> allow(const RequestNote& request);
  Result<void> deny(const RequestNote& request, std::string_view code, int status);
  Result<void> end(const RequestNote& request, const ExchangeEnd& end);
  /// About once a second: writes counts of repeated denials.
  Result<void> flush();
  Result<void> seal();
  /// From now on `hash` is the policy of every record; a record of its own says so first.
  Result<void> set_policy(const std::string& hash);
  void set_sync(audit::Sync sync) { writer_.set_sync(sync); }
  /// See audit::Writer.
  [[nodiscard]] int folder() const { return writer_.folder(); }
  void stop_rotating() { writer_.stop_rotating(); }
  /// The supervisor's own word, as a record of the chain.
  Result<void> note(std::string_view text);

  [[nodiscard]] const audit::Head& head() const { return writer_.head(); }
  [[nodiscard]] std::uint64_t records() const { return writer_.records_written(); }

 private:
  AuditLog(audit::Writer writer, Start start);

  audit::Writer writer_;
  Start start_;
  bool started_ = false;
  std::string id_prefix_;
  std::uint64_t last_id_ = 0;
};

}  // namespace pinhole::pep

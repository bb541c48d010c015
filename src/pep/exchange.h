// SPDX-License-Identifier: Apache-2.0
// One allowed HTTP request, from its first byte upstream to the last byte of its answer. Streams
// both ways; what is held at any time is bounded by Upload::kAhead and kHighWater, whatever the
// bodies are.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/request.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/door.h"
#include "pep/guest.h"
#include "pep/response_head.h"
#include "pep/transfer.h"
#include "pep/upload.h"
#include "policy/policy.h"
#include "sys/event.h"

namespace pinhole::pep {

/// What is asked. The head stays the session's.
struct ExchangeJob {
  const http::RequestHead* head = nullptr;
  policy::BodyLimits limits;
  std::vector<http::Endpoint> endpoints;  // checked; tried in order until one connects
  bool via_proxy = false;                 // run() finds out: they are the upstream proxy's
};

struct ExchangeResult {
  ExchangeEnd end;
  /// Set when nothing of an answer went to the guest yet: it gets this one.
  std::optional<Refusal> refusal = {};
  /// The guest's connection can carry another request. If not, it is to be cut, so that a truncated
  /// answer is never taken for a whole one.
  bool keep_alive = false;
};

/// Owned by a Session, used for one request after the other; its libcurl handle is kept between
/// them.
class Exchange final : private TransferListener {
 public:
  /// Answer bytes that wait for the guest; the origin is held back beyond it.
  static constexpr std::size_t kHighWater = std::size_t{256} << 10;

  Exchange(Door& door, Guest& guest);

  asio::awaitable<ExchangeResult> run(ExchangeJob job);
  /// Called often; ends an exchange that took too long.
  void check_deadline(std::chrono::steady_clock::time_point now);
  /// The guest closed its connection, or it is to end now.
  void guest_gone();
  /// Ends what an exception left behind; returns when nothing of an exchange runs any more.
  asio::awaitable<void> settle();
  [[nodiscard]] bool running() const { return running_; }

 private:
  void on_connected() override;
  bool on_head_line(std::string_view line) override;
  BodyTaken on_body(std::string_view bytes) override;
  UploadChunk on_upload(std::span<char> room) override;
  void on_done(const std::optional<TransferFailure>& failure) override;

  void begin();
  Result<void> start_transfer();
  void build_headers();
  bool take_head();
  void upload_moved();
  void set_failure(std::string_view code, std::string message);
  void time_out(std::string message);
  bool try_next_endpoint();
  asio::awaitable<void> relay();
  ExchangeResult result();

  Door& door_;
  Guest& guest_;
  sys::Event changed_;
  Upload upload_;
  std::unique_ptr<Transfer> transfer_;  // made when first needed
  HeaderLines lines_;
  ExchangeJob job_;
  std::size_t endpoint_ = 0;  // in job_.endpoints
  std::string authority_;
  std::string target_;
  std::chrono::steady_clock::time_point started_;

  std::string out_;      // for the guest, growing
  std::string writing_;  // for the guest, being written
  ResponseHeadReader reader_;
  ResponseFraming framing_ = ResponseFraming::none;
  std::uint64_t received_ = 0;
  std::optional<TransferFailure> failure_;
  int failure_status_ = 0;
  bool running_ = false;
  bool uploading_ = false;
  bool connected_ = false;
  bool head_done_ = false;  // the final head is in out_ or further
  bool keep_alive_ = false;
  bool done_ = false;
  bool guest_gone_ = false;
};

}  // namespace pinhole::pep

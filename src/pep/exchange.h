// SPDX-License-Identifier: Apache-2.0
// One allowed HTTP request, from its first byte upstream to the last byte of its answer. Streams
// both ways; what is held at any time is bounded by BodyQueue::kAhead and the client's kHighWater, whatever the
// bodies are.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "http/request.h"
#include "pep/answer.h"
#include "pep/audit_log.h"
#include "pep/carrier.h"
#include "pep/client.h"
#include "pep/door.h"
#include "pep/response_head.h"
#include "pep/transfer.h"
#include "policy/policy.h"
#include "secret/masker.h"
#include "secret/vault.h"
#include "sys/event.h"

namespace pinhole::pep {

/// Used for one request after the other; its libcurl handle is kept between them.
class Exchange final : public Carrier, private TransferListener {
 public:
  explicit Exchange(Door& door);

  asio::awaitable<ExchangeResult> run(ExchangeJob job, Client* client) override;
  /// Called often; ends an exchange that took too long.
  void check_deadline(std::chrono::steady_clock::time_point now);
  void guest_gone() override;
  /// Ends what an exception left behind; returns when nothing of an exchange runs any more.
  asio::awaitable<void> settle();
  [[nodiscard]] bool running() const override { return running_; }

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
  bool give_head(const ResponseHead& head);
  bool take_trailer(std::string_view line);
  void give(std::string_view bytes);
  void release_held(std::chrono::steady_clock::time_point now);
  void finish_answer();
  UploadChunk next_upload(std::span<char> room);
  void body_changed();
  void set_failure(std::string_view code, std::string message);
  void time_out(std::string message);
  bool try_next_endpoint();
  bool is_grpc_over() const;
  asio::awaitable<void> relay();
  ExchangeResult result();

  Door& door_;
  Client* client_ = nullptr;  // while one runs
  sys::Event changed_;
  std::unique_ptr<Transfer> transfer_;  // made when first needed
  HeaderLines lines_;
  ExchangeJob job_;
  std::size_t endpoint_ = 0;  // in job_.endpoints
  std::string authority_;
  std::string target_;
  std::chrono::steady_clock::time_point started_;

  ResponseHeadReader reader_;
  std::vector<http::Header> trailers_;
  std::size_t trailer_bytes_ = 0;
  std::optional<secret::Masker> masker_;
  std::string masked_;     // of one piece of the body
  std::string rewritten_;  // of the request's body, waiting for libcurl
  std::uint64_t received_ = 0;
  std::chrono::steady_clock::time_point body_came_;
  struct Digests {
    Sha256 request;
    Sha256 response;
  };
  std::optional<Digests> digests_;  // of the bodies as they went, where the audit wants them
  std::optional<TransferFailure> failure_;
  int failure_status_ = 0;
  static constexpr int kMostInformational = 32;  // 1xx answers of one exchange
  int informational_ = 0;
  bool running_ = false;
  bool connected_ = false;
  bool continued_ = false;  // the guest was told to go on with its body
  bool head_done_ = false;  // the final head went to the client
  bool done_ = false;
  bool guest_gone_ = false;
};

}  // namespace pinhole::pep

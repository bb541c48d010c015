// SPDX-License-Identifier: Apache-2.0
// What a guest is told when a request is not carried out: Proxy-Status (RFC 9209) and a body of
// application/problem+json (RFC 9457), or a small page for a browser. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/header.h"

namespace pinhole::pep {

struct Refusal {
  std::string_view code;  // one of policy.md's table
  int status = 0;         // 0: the code's usual one
  std::string detail;     // one line
  std::string rule = {};  // "pinhole.yaml:17", where a rule spoke
  std::string fix = {};   // what to do, where there is something
  std::optional<std::chrono::seconds> retry_after = {};
};
/// The status that answers `refusal`.
int status_of(const Refusal& refusal);

struct AnswerContext {
  std::string_view method = {};
  std::string_view policy = {};   // its hash
  std::string_view request = {};  // id, the same as in the audit log
  bool wants_html = false;
  bool is_grpc = false;  // an answer without a body, whose fields a gRPC client shows
  bool keep_alive = false;
};
/// An answer of our own, whichever HTTP carries it. No body for HEAD.
struct Answer {
  int status = 0;
  std::string_view reason;  // of HTTP/1
  std::vector<http::Header> headers;
  std::string body;
};
Answer make_answer(const Refusal& refusal, const AnswerContext& context);
/// The same as the bytes of HTTP/1.
std::string format_answer(const Refusal& refusal, const AnswerContext& context);

/// The command that explains a refusal by the policy; empty where it would be too long to be read.
std::string explain_command(std::string_view method, std::string_view target);

}  // namespace pinhole::pep

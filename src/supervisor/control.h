// SPDX-License-Identifier: Apache-2.0
// The control socket between the CLI and a VM's supervisor. One connection carries one request:
//
//   → {"v":1,"op":"status"}
//   ← {"ok":true, …}                     or  {"ok":false,"error":"…","fix":"…"}
//
//   op      answer
//   status  state, reason, stages, pids, nonce and boot id of this boot
//   facts   what `pinhole verify` judges from outside: QMP's devices, argv, the PEP's counters
//   note    {"text":…} goes into the audit log as a record of its chain
//   secrets {"values":{NAME: value}} goes to the PEP, and nowhere else; without values it only asks. The
//           answer has "placeholders" {NAME: text}, "missing" [NAME…] and "problems" [text…]
//   reload  {"layers":[{"layer","name","text"}…],"foreign_keys":[…],"secrets":[{"name","from"}…]}: the
//           policy from now on, for this boot's door and for one that is started again; {"policy":hash}
//   stop    {"force":bool}; the supervisor's process ends when the VM is gone
//   agent   after the answer line the connection is a byte stream to the guest's agent (port 441)
//
// The socket lies in a 0700 folder, and the supervisor checks that its peer is the same user.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/fd.h"

namespace pinhole::supervisor {

inline constexpr std::size_t kLongestControlLine = 1 << 20;

/// The CLI's end; blocking, with deadlines.
class ControlClient {
 public:
  /// Nothing listens there: error code "not_running". It listens and takes nobody: "no_answer".
  static Result<ControlClient> connect(const std::filesystem::path& socket);

  /// Sends a request and returns the answer; {"ok":false} becomes an Error. A supervisor that does
  /// not answer in time, or that is found stopped, is an error of code "no_answer" that names its
  /// process and says what to do.
  Result<boost::json::object> request(boost::json::object message,
                                      std::chrono::milliseconds limit = std::chrono::seconds(30));
  /// Waits until the supervisor's process has ended, and with it everything of its VM. False when `limit` passed first.
  bool wait_ended(std::chrono::milliseconds limit);
  /// The connection after an "agent" request, with what has been read of the stream already.
  Fd take_stream(std::string& already_read);

 private:
  explicit ControlClient(Fd socket) : socket_(std::move(socket)) {}
  Result<std::string> read_line(std::chrono::milliseconds limit);
  [[nodiscard]] Error silence() const;

  Fd socket_;
  int pid_ = 0;  // of the supervisor; 0 when it cannot be told
  Fd process_;   // a pidfd
  std::string received_;
};

/// An error as an answer line, and back.
boost::json::object error_answer(const Error& error);
Error error_from(const boost::json::object& answer);

}  // namespace pinhole::supervisor

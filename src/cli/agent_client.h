// SPDX-License-Identifier: Apache-2.0
// One operation of the guest's agent, through the supervisor. What comes back is the guest's claim:
// bounded here, parsed strictly by wire, and printable() at the edge of whoever shows it.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "cli/vm_access.h"
#include "wire/frame.h"
#include "wire/operation.h"

namespace pinhole::cli {

/// Where the output of an exec, of what was dialled (its end too: stdout_eof, without bytes) or of
/// read-files goes, as it comes.
using OutputSink = std::function<Result<void>(wire::FrameType stream, std::string_view bytes)>;

struct AgentOptions {
  std::chrono::milliseconds limit = std::chrono::seconds(60);
  std::string input = {};  // stdin of an exec, at most wire::kStdinWindow bytes
  int input_fd = -1;       // or a descriptor to read it from
  /// A signalfd, borrowed: what comes by it goes to the program, SIGWINCH as the new size of
  /// `terminal_fd`. A second SIGINT within two seconds ends the exchange (code "interrupted"), and
  /// `grace` after a SIGTERM or SIGHUP it ends too.
  int signal_fd = -1;
  /// A raw terminal, where the program has one too. Two Ctrl-C within two seconds, with nothing said
  /// between them, or eight whatever is said, end the exchange: so does nobody wait for ever for a
  /// guest that hangs or floods.
  int terminal_fd = -1;
  std::chrono::milliseconds grace = std::chrono::seconds(10);
  OutputSink output = {};
  /// Or descriptors that it is written to. A reader that has stopped reading them holds up the
  /// program, but no signal and no end.
  int output_fd = -1;
  int error_fd = -1;
  /// From the first byte of a message to its last: the agent writes messages whole, and a machine may be paused meanwhile.
  std::chrono::milliseconds frame_limit = std::chrono::minutes(2);
  /// Called once the connection stands and before anything of the guest's is read: the place for seal().
  std::function<Result<void>()> connected = {};
  /// Without a byte in or out for so long, the exchange ends; zero: a program may be silent.
  std::chrono::milliseconds idle_limit{0};
};

/// Sends the request and waits for the reply; an ErrorReply becomes an Error with its code.
Result<wire::Reply> ask_agent(const Vm& vm, const wire::Request& request,
                              AgentOptions options = {});

/// An exec whose output is collected (bounded).
struct Collected {
  int status = 0;  // exit status, or 128 + signal
  std::string out, err;
};
Result<Collected> run_in_guest(const Vm& vm, wire::ExecRequest request,
                               std::chrono::milliseconds limit);

/// The same over a connection that is there. However the other end behaves, it ends in time, and holds no more than a few
/// messages.
Result<wire::Reply> converse(Fd socket, std::string already_read, const wire::Request& request,
                             AgentOptions options);

/// A connection to the guest's agent.
Result<Fd> open_agent(const Vm& vm, std::string& already_read);

}  // namespace pinhole::cli

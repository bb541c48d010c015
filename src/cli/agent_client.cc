// SPDX-License-Identifier: Apache-2.0
#include "cli/agent_client.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <optional>

#include "sys/files.h"
#include "sys/raw_terminal.h"
#include "sys/unix_socket.h"

namespace pinhole::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// More than the guest takes at once waits in stdin, not here.
constexpr std::size_t kMostUnsent = 256 << 10;
constexpr std::chrono::seconds kTwice{2};  // between two Ctrl-C that mean "enough"
constexpr std::size_t kVeryOften = 8;      // within that time, whatever is said between them
constexpr milliseconds kSameMoment{100};
constexpr milliseconds kLongHeld{500};  // a key that repeats by itself says no more than one press
constexpr char kCtrlC = 3;

Error interrupted() {
  return {.message = "interrupted", .exit_status = 130, .code = "interrupted"};
}

/// What travels beside a request and its reply.
struct Streams {
  bool input = false, output = false, errors = false, half_close = false;
};
struct StreamsOf {
  Streams operator()(const wire::ExecRequest&) const {
    return {.input = true, .output = true, .errors = true};
  }
  Streams operator()(const wire::DialRequest&) const {
    return {.input = true, .output = true, .half_close = true};
  }
  Streams operator()(const wire::ReadFilesRequest&) const { return {.output = true}; }
  Streams operator()(const wire::WriteFilesRequest&) const { return {.input = true}; }
  template <typename Other>
  Streams operator()(const Other&) const {
    return {};
  }
};

/// One exchange: frames out, frames in, until the reply. The socket never blocks us: what the guest does not take or does
/// not say ends with a deadline.
class Exchange {
 public:
  Exchange(Fd socket, std::string already_read, AgentOptions options)
      : socket_(std::move(socket)),
        options_(std::move(options)),
        deadline_(steady_clock::now() + options_.limit) {
    sys::set_nonblocking(socket_.get());
    frames_.add(already_read);
  }

  Result<wire::Reply> run(const wire::Request& request) {
    PINHOLE_TRY(const std::string json, wire::serialise(request));
    streams_ = std::visit(StreamsOf(), request);
    queue(wire::FrameType::request, json);
    if (!streams_.input) options_.input_fd = -1;
    if (streams_.input && options_.input_fd < 0) PINHOLE_TRY_VOID(queue_input());
    for (;;) {
      PINHOLE_TRY(const auto frame, frames_.next());
      if (!frame) {
        PINHOLE_TRY_VOID(check_time());
        PINHOLE_TRY_VOID(wait_and_move());
        continue;
      }
      frame_begun_.reset();
      if (frame->type == wire::FrameType::reply) return reply(request, frame->payload);
      PINHOLE_TRY_VOID(handle(*frame));
    }
  }

 private:
  void queue(wire::FrameType type, std::string_view payload) {
    unsent_ += wire::encode_frame(type, payload);
  }

  Result<void> queue_input() {
    if (options_.input.size() > wire::kStdinWindow)
      return fail("the input is longer than {} bytes", wire::kStdinWindow);
    for (std::string_view rest = options_.input; !rest.empty();
         rest.remove_prefix(std::min(rest.size(), wire::kFrameBytes))) {
      queue(wire::FrameType::stdin_data, rest.substr(0, wire::kFrameBytes));
    }
    window_ -= static_cast<std::uint32_t>(options_.input.size());
    queue(wire::FrameType::stdin_eof, {});
    return {};
  }

  /// A program may be silent for as long as it likes; a frame that has begun may not.
  Result<void> check_time() {
    const auto now = steady_clock::now();
    if (frames_.pending() == 0) frame_begun_.reset();
    if (frames_.pending() > 0 && !frame_begun_) frame_begun_ = now;
    if (now >= deadline_) return fail(time_is_up());
    if (options_.idle_limit.count() > 0 && now >= moved_ + options_.idle_limit)
      return fail("nothing moved for {} s", options_.idle_limit.count() / 1000);
    if (frame_begun_ && now >= *frame_begun_ + options_.frame_limit)
      return fail("the guest's agent began a message and did not end it within {} s",
                  options_.frame_limit.count() / 1000);
    return {};
  }

  [[nodiscard]] int time_left() const {
    auto until = deadline_;
    if (frame_begun_) until = std::min(until, *frame_begun_ + options_.frame_limit);
    if (options_.idle_limit.count() > 0) until = std::min(until, moved_ + options_.idle_limit);
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }

  /// stdin is read only while the guest has room for it.
  [[nodiscard]] int wanted_input() const {
    return window_ > 0 && unsent_.size() < kMostUnsent ? options_.input_fd : -1;
  }

  Result<void> wait_and_move() {
    const short events = unsent_.empty() ? POLLIN : POLLIN | POLLOUT;
    std::array<pollfd, 3> waited{
        {{socket_.get(), events, 0}, {wanted_input(), POLLIN, 0}, {options_.signal_fd, POLLIN, 0}}};
    if (::poll(waited.data(), waited.size(), time_left()) < 0 && errno != EINTR)
      return fail("cannot wait for the guest: {}", errno_text(errno));
    if (waited[2].revents != 0) PINHOLE_TRY_VOID(forward_signal());
    if (waited[1].revents != 0) PINHOLE_TRY_VOID(forward_input());
    if ((waited[0].revents & POLLOUT) != 0) write_some();
    if ((waited[0].revents & ~POLLOUT) != 0) return read_some();
    return {};
  }

  /// An error shows when reading: a reply may be on its way.
  void write_some() {
    const ssize_t n = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (n > 0) moved_ = steady_clock::now();
    if (n > 0) unsent_.erase(0, static_cast<std::size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      unsent_.clear();
      options_.input_fd = -1;
    }
  }

  Result<void> read_some() {
    std::array<char, 65536> chunk;
    const ssize_t n = ::read(socket_.get(), chunk.data(), chunk.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return {};
    if (n <= 0) return fail("the guest's agent went away");
    frames_.add({chunk.data(), static_cast<std::size_t>(n)});
    return {};
  }

  /// A program that ended before it read everything is no error: its reply is on the way.
  Result<void> forward_input() {
    std::array<char, 16384> chunk;
    const ssize_t n =
        ::read(options_.input_fd, chunk.data(), std::min<std::size_t>(chunk.size(), window_));
    if (n < 0 && errno == EINTR) return {};
    const auto type = n > 0 ? wire::FrameType::stdin_data : wire::FrameType::stdin_eof;
    const std::string_view bytes(chunk.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    window_ -= static_cast<std::uint32_t>(bytes.size());
    queue(type, bytes);
    if (n <= 0) options_.input_fd = -1;
    // Several at once, where we were slow to read.
    if (options_.terminal_fd >= 0 && !bytes.empty() &&
        bytes.find_first_not_of(kCtrlC) == std::string_view::npos)
      return enough(bytes.size());
    return {};
  }

  /// The second time in a row; or very often, where a guest never stops talking.
  Result<void> enough(std::size_t times = 1) {
    const auto now = steady_clock::now();
    // To a process group and passed on by its leader: one Ctrl-C, twice.
    if (now - interrupted_at_ < kSameMoment) return {};
    if (now - often_since_ >= kTwice) {
      often_since_ = now;
      often_ = 0;
    }
    often_ += std::min(times, kVeryOften);
    const bool again = silent_since_ && now - interrupted_at_ < kTwice;
    const bool very_often = often_ >= kVeryOften && now - often_since_ >= kLongHeld;
    if (again || very_often) return fail(interrupted());
    interrupted_at_ = now;
    silent_since_ = true;
    return {};
  }

  /// Somebody wants this process to end: the program may do so first, but is not waited for.
  void must_end(int signal) {
    if (asked_to_end_) return;
    asked_to_end_ = signal;
    deadline_ = std::min(deadline_, steady_clock::now() + options_.grace);
  }

  [[nodiscard]] Error time_is_up() const {
    if (!asked_to_end_)
      return {.message = fmt::format("the guest's agent did not answer within {} s",
                                     options_.limit.count() / 1000)};
    return {.message = fmt::format("the program in the guest did not end within {} s of {}",
                                   options_.grace.count() / 1000,
                                   *asked_to_end_ == SIGHUP ? "SIGHUP" : "SIGTERM"),
            .exit_status = 128 + *asked_to_end_,
            .code = "interrupted"};
  }

  Result<void> forward_signal() {
    signalfd_siginfo info{};
    if (::read(options_.signal_fd, &info, sizeof(info)) != sizeof(info)) return {};
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGWINCH) {
      if (const auto size = sys::terminal_size(options_.terminal_fd))
        unsent_ += wire::encode_resize({.rows = size->rows, .columns = size->columns});
      return {};
    }
    unsent_ += wire::encode_signal(number);
    if (number == SIGTERM || number == SIGHUP) must_end(number);
    return number == SIGINT ? enough() : Result<void>();
  }

  /// What the guest's terminal says of a Ctrl-C by itself is no sign of life of the program.
  void heard(std::string_view output) {
    if (output != "^C") silent_since_ = false;
  }

  Result<void> put(wire::FrameType type, std::string_view bytes) {
    if (options_.output) return options_.output(type, bytes);
    const int fd = type == wire::FrameType::stderr_data ? options_.error_fd : options_.output_fd;
    while (fd >= 0 && !bytes.empty()) {
      PINHOLE_TRY(const bool room, wait_for_room(fd));
      if (!room) continue;
      // No more than what a pipe that is writable has room for: pipe(7).
      const std::string_view piece = bytes.substr(0, PIPE_BUF);
      PINHOLE_TRY_VOID(sys::write_all(fd, piece));
      bytes.remove_prefix(piece.size());
    }
    return {};
  }

  /// A terminal that is slow to show what a guest says is still one to type at.
  Result<bool> wait_for_room(int fd) {
    std::array<pollfd, 4> waited{{{fd, POLLOUT, 0},
                                  {options_.signal_fd, POLLIN, 0},
                                  {unsent_.empty() ? -1 : socket_.get(), POLLOUT, 0},
                                  {wanted_input(), POLLIN, 0}}};
    if (::poll(waited.data(), waited.size(), time_left()) < 0 && errno != EINTR)
      return fail("cannot wait for room: {}", errno_text(errno));
    if (waited[1].revents != 0) PINHOLE_TRY_VOID(forward_signal());
    if (waited[2].revents != 0) write_some();
    if (waited[3].revents != 0) PINHOLE_TRY_VOID(forward_input());
    if (steady_clock::now() >= deadline_) return fail(time_is_up());
    return waited[0].revents != 0;
  }

  Result<void> handle(const wire::Frame& frame) {
    const bool output =
        (streams_.output && frame.type == wire::FrameType::stdout_data) ||
        (streams_.errors && frame.type == wire::FrameType::stderr_data) ||
        (streams_.half_close && frame.type == wire::FrameType::stdout_eof && frame.payload.empty());
    const bool window = streams_.input && frame.type == wire::FrameType::window;
    if (!output && !window) return fail("the guest's agent broke the protocol");
    // However fast it talks, it gets no more time than it has.
    if (steady_clock::now() >= deadline_) return check_time();
    if (output) {
      if (options_.terminal_fd >= 0) heard(frame.payload);
      PINHOLE_TRY_VOID(put(frame.type, frame.payload));
      moved_ = steady_clock::now();  // also when it took its time to be written
      return {};
    }
    PINHOLE_TRY(const std::uint32_t more, wire::decode_window(frame.payload));
    // It gives back what it took, nothing else.
    if (more == 0 || more > wire::kStdinWindow - window_)
      return fail("the guest's agent broke the protocol");
    window_ += more;
    return {};
  }

  /// The answer to another question is none.
  static Result<wire::Reply> reply(const wire::Request& request, std::string_view payload) {
    PINHOLE_TRY(auto parsed, wire::parse_reply(payload));
    if (const auto* refused = std::get_if<wire::ErrorReply>(&parsed)) {
      Error error{.message = refused->message, .code = refused->code};
      // An agent that does not know what we ask for is of an older image.
      if (error.code == "bad_request")
        error.fix = "perhaps the guest's agent is older than this program: pinhole down and up";
      return fail(std::move(error));
    }
    if (!wire::answers(parsed, request))
      return fail("the guest's agent gave another answer than asked for");
    return parsed;
  }

  Fd socket_;
  AgentOptions options_;
  steady_clock::time_point deadline_;
  std::optional<steady_clock::time_point> frame_begun_;  // of one that is not complete
  wire::FrameReader frames_;
  std::string unsent_;
  std::uint32_t window_ = wire::kStdinWindow;
  steady_clock::time_point interrupted_at_;  // at first: long ago
  bool silent_since_ = false;                // the guest, since then
  steady_clock::time_point often_since_;
  std::size_t often_ = 0;
  std::optional<int> asked_to_end_;  // by this signal
  Streams streams_;
  steady_clock::time_point moved_ = steady_clock::now();
};

}  // namespace

Result<Fd> open_agent(const Vm& vm, std::string& already_read) {
  PINHOLE_TRY(auto client, connect(vm));
  PINHOLE_TRY_VOID(client.request({{"op", "agent"}}));
  return client.take_stream(already_read);
}

Result<wire::Reply> converse(Fd socket, std::string already_read, const wire::Request& request,
                             AgentOptions options) {
  return Exchange(std::move(socket), std::move(already_read), std::move(options)).run(request);
}

Result<wire::Reply> ask_agent(const Vm& vm, const wire::Request& request, AgentOptions options) {
  std::string already_read;
  PINHOLE_TRY(Fd socket, open_agent(vm, already_read));
  if (options.connected) PINHOLE_TRY_VOID(options.connected());
  return converse(std::move(socket), std::move(already_read), request, std::move(options));
}

Result<Collected> run_in_guest(const Vm& vm, wire::ExecRequest request, milliseconds limit) {
  constexpr std::size_t kMostOutput = 1 << 20;
  Collected collected;
  AgentOptions options{.limit = limit};
  options.output = [&](wire::FrameType stream, std::string_view bytes) -> Result<void> {
    std::string& into = stream == wire::FrameType::stdout_data ? collected.out : collected.err;
    if (into.size() + bytes.size() > kMostOutput)
      return fail("the program in the guest printed more than {} bytes", kMostOutput);
    into += bytes;
    return {};
  };
  PINHOLE_TRY(const auto reply, ask_agent(vm, std::move(request), std::move(options)));
  const auto* ended = std::get_if<wire::ExecReply>(&reply);
  if (ended == nullptr) return fail("the guest's agent gave another answer than asked for");
  collected.status = ended->exit.value_or(128 + ended->signal.value_or(0));
  return collected;
}

}  // namespace pinhole::cli

// SPDX-License-Identifier: Apache-2.0
#include "agent/fetch_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::agent {

const char* const kFetchUsage =
    R"(usage: pinhole-agent fetch [options] URL

Fetches an http:// or https:// URL through the VM's one door and prints
status=200 bytes=14 sha256=…, or the reason for a refusal.

  -X, --method METHOD     GET, or POST with a body
  -H, --header 'K: V'     may be repeated
  -d, --data DATA         the body; @FILE is a file, @- is stdin
      --data-file FILE    the same as -d @FILE
  -o, --output FILE       where a 2xx answer's body goes; - is stdout. Else it is only counted and hashed
  -L, --location          follows redirects
      --max-redirs N      at most so many (10)
      --timeout SECONDS   longest time without any progress (120)
      --door ENDPOINT     vsock:CID:PORT or unix:/path (vsock:2:440, or $PINHOLE_DOOR)

Exit status: 0 for 2xx, 22 for 4xx, 5xx and a refused redirect, 3 for a redirect that was not
followed, 7 no door, 18 the body was cut off, 28 timeout, 2 wrong usage.

  pinhole-agent fetch -L -o page.html https://example.com/
)";

namespace {

constexpr unsigned kMostRedirects = 50;
constexpr std::uint64_t kLongestTimeout = 24 * 3600;

std::unexpected<Error> usage_error(std::string message) {
  return fail(
      Error{.message = std::move(message), .fix = "pinhole-agent fetch --help", .exit_status = 2});
}

Result<void> set_body(FetchCommand& command, const std::string& file) {
  const int fd = file == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                             : ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return fail(
        Error{.message = fmt::format("cannot open {}: {}", printable(file), errno_text(errno)),
              .exit_status = 26});
  }
  command.request.body = FetchBody{.file = std::make_shared<Fd>(fd)};
  return {};
}

Result<void> set_data(FetchCommand& command, const std::string& value) {
  if (value.starts_with('@')) return set_body(command, value.substr(1));
  command.request.body = FetchBody{.bytes = value};
  return {};
}

Result<void> add_header(FetchCommand& command, const std::string& value) {
  const std::size_t colon = value.find(':');
  if (colon == std::string::npos) {
    return usage_error(fmt::format("header \"{}\" has no colon", printable(value)));
  }
  command.request.headers.emplace_back(value.substr(0, colon),
                                       trim(std::string_view(value).substr(colon + 1)));
  return {};
}

Result<void> set_redirects(FetchCommand& command, const std::string& value) {
  const auto number = parse_u64(value);
  if (!number || *number > kMostRedirects) {
    return usage_error(fmt::format("--max-redirs takes 0 to {}", kMostRedirects));
  }
  command.request.max_redirects = static_cast<unsigned>(*number);
  return {};
}

Result<void> set_timeout(FetchCommand& command, const std::string& value) {
  const auto seconds = parse_u64(value);
  if (!seconds || *seconds == 0 || *seconds > kLongestTimeout) {
    return usage_error(fmt::format("--timeout takes 1 to {} seconds", kLongestTimeout));
  }
  command.request.idle_limit = std::chrono::seconds(*seconds);
  return {};
}

Result<void> set_door(FetchCommand& command, const std::string& value) {
  auto door = parse_endpoint(value);
  if (!door) return usage_error(door.error().message);
  command.request.door = std::move(*door);
  return {};
}

Result<void> set_method(FetchCommand& command, const std::string& value) {
  if (value.empty()) return usage_error("the method is empty");
  command.request.method = value;
  return {};
}

Result<void> set_output(FetchCommand& command, const std::string& value) {
  command.output = value;
  return {};
}

struct Option {
  std::string_view short_name;
  std::string_view name;
  Result<void> (*set)(FetchCommand&, const std::string&);
};
constexpr std::array kOptions = {
    Option{"-X", "--method", set_method},
    Option{"-X", "--request", set_method},
    Option{"-H", "--header", add_header},
    Option{"-d", "--data", set_data},
    Option{"", "--data-file", set_body},
    Option{"-o", "--output", set_output},
    Option{"", "--max-redirs", set_redirects},
    Option{"", "--timeout", set_timeout},
    Option{"", "--door", set_door},
};

const Option* find_option(std::string_view name) {
  const auto* found = std::ranges::find_if(
      kOptions, [&](const Option& o) { return o.name == name || o.short_name == name; });
  return found == kOptions.end() ? nullptr : found;
}

/// Where a 2xx body goes; opened with the first answer that deserves it.
class Output {
 public:
  explicit Output(std::optional<std::string> path) : path_(std::move(path)) {}
  [[nodiscard]] bool to_stdout() const { return path_ == "-"; }

  Result<void> open() {
    if (!path_ || to_stdout() || file_) return {};
    file_ = Fd(::open(path_->c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file_) return {};
    return fail(
        output_error(fmt::format("cannot create {}: {}", printable(*path_), errno_text(errno))));
  }
  Result<void> write(std::string_view bytes) {
    if (!path_) return {};
    PINHOLE_TRY_VOID(open());
    const auto written = sys::write_all(to_stdout() ? STDOUT_FILENO : file_.get(), bytes);
    if (written) return {};
    return fail(output_error(written.error().message));
  }

 private:
  static Error output_error(std::string message) {
    return {.message = std::move(message), .exit_status = 23, .code = "output"};
  }
  std::optional<std::string> path_;
  Fd file_;
};

int exit_status_of(const FetchResult& result) {
  if (result.code == "redirect_blocked" || result.status >= 400) return 22;
  return result.status >= 300 ? 3 : 0;
}

std::string report(const FetchResult& result) {
  constexpr std::size_t kShown = 500;
  std::string text = result.summary();
  if (result.redirects > 0) {
    text += fmt::format(" redirects={} url={}", result.redirects, printable(result.url, kShown));
  }
  text += "\n";
  if (!result.detail.empty()) text += "detail: " + printable(result.detail, kShown) + "\n";
  if (!result.fix.empty()) text += "fix: " + printable(result.fix, kShown) + "\n";
  return text;
}

}  // namespace

Result<FetchCommand> parse_fetch(const std::vector<std::string>& args, const Endpoint& door) {
  FetchCommand command{.request = {.door = door}};
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "-L" || arg == "--location") {
      command.request.follow = true;
    } else if (const Option* option = arg.empty() ? nullptr : find_option(arg)) {
      if (i + 1 == args.size()) return usage_error(fmt::format("{} needs a value", arg));
      PINHOLE_TRY_VOID(option->set(command, args[++i]));
    } else if (arg.starts_with('-')) {
      return usage_error(fmt::format("unknown option \"{}\"", printable(arg)));
    } else if (!command.request.url.empty()) {
      return usage_error("more than one URL");
    } else {
      command.request.url = arg;
    }
  }
  if (command.request.url.empty()) return usage_error("no URL was given");
  const bool method_given = std::ranges::any_of(
      args, [](const std::string& a) { return a == "-X" || a == "--method" || a == "--request"; });
  if (command.request.body && !method_given) command.request.method = "POST";
  return command;
}

int run_fetch(FetchCommand command) {
  const auto output = std::make_shared<Output>(std::move(command.output));
  asio::io_context context(1);
  Result<FetchResult> outcome = fail("the fetch did not run");
  const BodySink sink = [output](std::string_view bytes) { return output->write(bytes); };
  asio::co_spawn(context, fetch(std::move(command.request), sink),
                 [&](const std::exception_ptr& error, Result<FetchResult> result) {
                   if (!error) outcome = std::move(result);
                 });
  context.run();
  // An empty file for an empty body.
  if (outcome && exit_status_of(*outcome) == 0) {
    if (auto opened = output->open(); !opened) outcome = fail(opened.error());
  }
  if (!outcome) {
    const std::string text = format_error("pinhole-agent", outcome.error());
    [[maybe_unused]] const auto told = sys::write_all(STDERR_FILENO, text);
    return outcome.error().exit_status;
  }
  [[maybe_unused]] const auto told =
      sys::write_all(output->to_stdout() ? STDERR_FILENO : STDOUT_FILENO, report(*outcome));
  return exit_status_of(*outcome);
}

}  // namespace pinhole::agent

// SPDX-License-Identifier: Apache-2.0
#include "agent/files_helper.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <span>

#include <fmt/format.h>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "tar/tar.h"

namespace pinhole::agent {
namespace {

constexpr std::string_view kDone = "ok";
constexpr std::string_view kFailed = "error";

Result<tar::Tally> read_files(const std::string& path) {
  return tar::pack(path, tar::top_name(path),
                   [](std::string_view bytes) { return sys::write_all(STDOUT_FILENO, bytes); });
}

Result<std::size_t> read_stdin(std::span<char> into) {
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, into.data(), into.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return fail("cannot read stdin: {}", errno_text(errno));
  }
}

Result<tar::Tally> write_files(const std::string& path, const std::string& top) {
  PINHOLE_TRY(const tar::Place place, tar::place_for(path, top));
  return tar::unpack(read_stdin, top, place.folder, place.name, {.trusting = true});
}

}  // namespace

int run_files_helper(const std::vector<std::string>& args) {
  ::umask(0);  // modes are the archive's
  Result<tar::Tally> done = fail("files-read PATH or files-write PATH NAME");
  if (args.size() == 2 && args[0] == "files-read") done = read_files(args[1]);
  if (args.size() == 3 && args[0] == "files-write") done = write_files(args[1], args[2]);
  std::string report;
  if (done) {
    report = fmt::format("{} {} {}", kDone, done->entries, done->bytes);
  } else {
    const std::string& code = done.error().code;
    report = fmt::format("{} {} {}", kFailed, code.empty() ? "failed" : code, done.error().message);
  }
  [[maybe_unused]] const auto told = sys::write_all(STDERR_FILENO, report);
  return done ? 0 : 1;
}

wire::Reply read_files_report(std::string_view report) {
  const auto words = split(report, ' ');
  if (words.size() == 3 && words[0] == kDone) {
    const auto entries = parse_u64(words[1]);
    const auto bytes = parse_u64(words[2]);
    if (entries && bytes) return wire::FilesReply{.entries = *entries, .bytes = *bytes};
  }
  if (words.size() < 3 || words[0] != kFailed)
    return wire::ErrorReply{.code = "failed", .message = "the helper process failed"};
  const std::string_view message = report.substr(words[0].size() + words[1].size() + 2);
  return wire::ErrorReply{.code = std::string(words[1]),
                          .message = printable(message, wire::kDetailBytes - 4)};
}

}  // namespace pinhole::agent

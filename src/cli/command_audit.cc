// SPDX-License-Identifier: Apache-2.0
// pinhole audit tail, query, verify.
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <optional>
#include <ranges>

#include <boost/json.hpp>

#include "audit/files.h"
#include "audit/query.h"
#include "audit/reader.h"
#include "audit/record.h"
#include "audit/verify.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/terminal.h"
#include "cli/vm_access.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Words {
  std::string name, file, head, since, until;
  audit::Filter filter;
  std::size_t count = 20, limit = 1000;
  bool follow = false, as_json = false;
};

/// What a VM of `run` has left.
std::optional<fs::path> log_of_run(const std::string& name) {
  const auto paths = config::user_paths();
  if (!paths || !config::valid_vm_name(name)) return std::nullopt;
  std::error_code error;
  fs::path log = paths->runs / name / "audit.jsonl";
  if (!fs::exists(log, error)) return std::nullopt;
  return log;
}

/// audit.jsonl of the VM, of a run, of --file FILE, or of the folder that --file names.
Result<fs::path> log_of(const Words& words) {
  if (words.file.empty()) {
    PINHOLE_TRY(const std::string name, name_or_only(words.name));
    if (auto kept = log_of_run(name)) return *std::move(kept);
    PINHOLE_TRY(const Vm vm, find_vm(name));
    return vm.paths.audit_log;
  }
  std::error_code error;
  if (fs::is_directory(words.file, error)) return fs::path(words.file) / "audit.jsonl";
  return fs::path(words.file);
}

std::string shown_size(const std::optional<std::uint64_t>& bytes) {
  return bytes ? format_size(*bytes) : "-";
}

/// One record as a line of a table.
std::string row(const audit::Entry& entry) {
  // Milliseconds of a day that is on the screen matter more than the year.
  std::string line = format_time(entry.time).substr(5, 18) + "  ";
  line[5] = ' ';
  const bool decided = entry.kind == "decision" || entry.kind == "denied-coalesced";
  line += fmt::format("{:<10}", printable(decided ? entry.action : entry.kind, 20));
  if (!decided && entry.kind != "end") {
    return line + " " + printable(entry.kind == "start" ? entry.policy : entry.note, 300);
  }
  line += fmt::format(" {:>3}", entry.status ? std::to_string(*entry.status) : "");
  line += fmt::format(" {} {}", printable(entry.method, 32), printable(entry.url, 300));
  if (!entry.code.empty()) line += "  " + printable(entry.code, 40);
  if (decided && !entry.rule.empty()) line += "  (" + printable(entry.rule, 100) + ")";
  if (entry.count) line += fmt::format("  {} times", *entry.count);
  if (entry.kind == "end") {
    line +=
        fmt::format("  sent {}, received {}", shown_size(entry.sent), shown_size(entry.received));
    if (entry.milliseconds) line += fmt::format(", {:.0f} ms", std::round(*entry.milliseconds));
  }
  for (const std::string& secret : entry.secrets) line += "  +" + printable(secret, 60);
  if (const std::string claim = entry.claim.text(); !claim.empty())
    line += "  says it is " + printable(claim, 100);
  if (decided && !entry.note.empty()) line += "  " + printable(entry.note, 300);
  return line;
}

void show(const std::string& line, bool as_json) {
  const auto entry = audit::parse_entry(line);
  if (!entry) return print_line(printable(line, 300));
  if (as_json) return print_json(line);
  print_line(row(*entry));
}

/// The newest that match, oldest first; true: there are more.
Result<bool> show_newest(const fs::path& path, const audit::Filter& filter, std::size_t most,
                         bool as_json) {
  PINHOLE_TRY(audit::BackwardReader reader, audit::BackwardReader::open(path));
  std::vector<std::string> found;
  bool more = false;
  while (true) {
    PINHOLE_TRY(auto line, reader.next());
    if (!line) break;
    const auto entry = audit::parse_entry(*line);
    if (!entry) return fail("{}: {}", path.string(), entry.error().message);
    // The clock may have been set back a little between two records.
    if (filter.since && entry->time < *filter.since - std::chrono::hours(1)) break;
    if (!filter.matches(*entry)) continue;
    more = found.size() >= most;
    if (more) break;
    found.push_back(*std::move(line));
  }
  for (const std::string& line : found | std::views::reverse) show(line, as_json);
  return more;
}

/// The file of a log that grows; goes on with the next one after a rotation.
class Follower {
 public:
  Follower(fs::path path, bool as_json) : path_(std::move(path)), as_json_(as_json) {}

  Result<int> run(std::uint64_t shown_up_to) {
    shown_ = shown_up_to;
    const Fd watch(::inotify_init1(IN_CLOEXEC));
    // The folder: the name gets another file at a rotation.
    const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
    if (!watch || ::inotify_add_watch(watch.get(), folder.c_str(),
                                      IN_MODIFY | IN_CREATE | IN_MOVE | IN_DELETE_SELF) < 0)
      return fail("cannot watch {}: {}", folder.string(), errno_text(errno));
    while (true) {
      read_on();
      alignas(inotify_event) std::array<char, 4096> events;
      const ssize_t n = ::read(watch.get(), events.data(), events.size());
      if (n <= 0) return 0;
      const auto* first = reinterpret_cast<const inotify_event*>(events.data());
      if ((first->mask & (IN_DELETE_SELF | IN_IGNORED)) != 0) return 0;  // removed with its VM
    }
  }

 private:
  void read_on() {
    read_file();
    // Several rotations may lie between two looks; all of their files are read, in order.
    const auto files = audit::find_files(path_);
    if (!files) return;
    for (const std::uint64_t number : files->numbers) {
      if (number > finished_ && started_) {
        file_ = open(files->numbered(number));
        read_file();
      }
      finished_ = std::max(finished_, number);
    }
    file_ = open(path_);
    started_ = true;
    read_file();
  }
  static Fd open(const fs::path& path) {
    return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  }
  void read_file() {
    if (!file_) return;
    struct stat info{};
    if (::fstat(file_.get(), &info) != 0) return;
    if (info.st_ino != inode_) at_ = 0, pending_.clear();
    inode_ = info.st_ino;
    std::array<char, 65536> chunk;
    for (ssize_t n = 0; (n = ::pread(file_.get(), chunk.data(), chunk.size(), at_)) > 0;) {
      at_ += n;
      pending_.append(chunk.data(), static_cast<std::size_t>(n));
      take_lines();
    }
  }
  void take_lines() {
    std::size_t start = 0;
    for (std::size_t end = 0; (end = pending_.find('\n', start)) != std::string::npos;
         start = end + 1) {
      const std::string line = pending_.substr(start, end - start);
      const auto entry = audit::parse_entry(line);
      if (entry && entry->sequence <= shown_) continue;
      if (entry) shown_ = entry->sequence;
      show(line, as_json_);
    }
    pending_.erase(0, start);
    if (pending_.size() > audit::kLongestLine) pending_.clear();
  }

  fs::path path_;
  bool as_json_;
  Fd file_;
  ino_t inode_ = 0;
  off_t at_ = 0;
  std::string pending_;
  std::uint64_t shown_ = 0;     // sequence number
  std::uint64_t finished_ = 0;  // of the numbered files
  bool started_ = false;
};

Result<std::uint64_t> newest_sequence(const fs::path& path) {
  PINHOLE_TRY(audit::BackwardReader reader, audit::BackwardReader::open(path));
  PINHOLE_TRY(const auto line, reader.next());
  if (!line) return 0;
  const auto entry = audit::parse_entry(*line);
  return entry ? entry->sequence : 0;
}

Result<int> tail(const Words& words) {
  PINHOLE_TRY(const fs::path path, log_of(words));
  std::uint64_t shown = 0;
  if (words.follow) {
    PINHOLE_TRY(shown, newest_sequence(path));
  }
  PINHOLE_TRY_VOID(show_newest(path, {}, words.count, words.as_json));
  if (!words.follow) return 0;
  return Follower(path, words.as_json).run(shown);
}

Result<int> query(Words words) {
  PINHOLE_TRY(const fs::path path, log_of(words));
  const auto now = std::chrono::system_clock::now();
  if (!words.since.empty()) {
    PINHOLE_TRY(words.filter.since, audit::parse_moment(words.since, now));
  }
  if (!words.until.empty()) {
    PINHOLE_TRY(words.filter.until, audit::parse_moment(words.until, now));
  }
  PINHOLE_TRY(const bool more, show_newest(path, words.filter, words.limit, words.as_json));
  if (more)
    print_note(fmt::format("older ones are left out: these are the newest {}", words.limit));
  return 0;
}

/// "SEQ:SHA256"
Result<audit::Head> parse_head(std::string_view text) {
  const std::size_t colon = text.find(':');
  const auto sequence = parse_u64(text.substr(0, colon));
  const std::string_view hash = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (!sequence || hash.size() != 64 ||
      hash.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return fail(Error{.message = fmt::format("{} is no head of a chain", printable(text, 100)),
                      .fix = "SEQ:SHA256, as `pinhole audit verify` prints it",
                      .exit_status = kUsageStatus});
  }
  return audit::Head{.sequence = *sequence, .sha256 = std::string(hash)};
}

/// What the supervisor wrote down of the chain, in a file that the door cannot write.
std::vector<audit::Head> heads_in(const fs::path& status_log) {
  constexpr std::uint64_t kLongest = std::uint64_t{64} << 20;
  constexpr std::string_view kWords = " audit head: ";
  std::vector<audit::Head> heads;
  const auto text = sys::read_file(status_log, kLongest);
  if (!text) return heads;
  for (const std::string_view line : split(*text, '\n')) {
    const std::size_t at = line.find(kWords);
    if (at == std::string_view::npos) continue;
    std::string head(trim(line.substr(at + kWords.size())));
    std::ranges::replace(head, ' ', ':');
    if (auto parsed = parse_head(head)) heads.push_back(*std::move(parsed));
  }
  return heads;
}

Result<int> verify(Words words) {
  if (words.file.empty() && words.name.contains('/')) words.file = std::exchange(words.name, {});
  std::vector<audit::Head> heads;
  if (!words.head.empty()) {
    PINHOLE_TRY(audit::Head head, parse_head(words.head));
    heads.push_back(std::move(head));
  }
  PINHOLE_TRY(const fs::path path, log_of(words));
  const std::size_t given = heads.size();
  if (words.file.empty() && !log_of_run(words.name)) {
    PINHOLE_TRY(const std::string name, name_or_only(words.name));
    PINHOLE_TRY(const Vm vm, find_vm(name));
    for (audit::Head& head : heads_in(vm.paths.status_log)) heads.push_back(std::move(head));
  }
  const std::size_t kept = heads.size();
  const auto summary = audit::verify_log(path, std::move(heads));
  if (words.as_json) {
    json::object out{{"ok", summary.has_value()}};
    if (summary) {
      out["records"] = summary->records;
      out["files"] = summary->files;
      out["boots"] = summary->boots;
      out["sealed"] = summary->sealed;
      out["torn_bytes"] = summary->torn_bytes;
      out["heads_compared"] = kept;
      out["head"] = fmt::format("{}:{}", summary->head.sequence, summary->head.sha256);
    } else {
      out["error"] = summary.error().message;
    }
    print_json(json::serialize(out));
    return summary ? 0 : 1;
  }
  if (!summary) return fail(Error(summary.error()).context("the audit chain is broken"));
  print_line(fmt::format("the chain is whole: {} records of {} boots in {} file{}",
                         summary->records, summary->boots, summary->files,
                         summary->files == 1 ? "" : "s"));
  print_line(fmt::format("  head      {}:{}", summary->head.sequence, summary->head.sha256));
  print_line(
      fmt::format("  sealed    {}",
                  summary->sealed ? "yes" : "no: it is being written, or its writer was killed"));
  if (kept > 0)
    print_line(fmt::format("  compared  {} heads kept elsewhere{}", kept,
                           given > 0 ? ", yours among them" : ""));
  if (summary->torn_bytes > 0)
    print_line(
        fmt::format("  torn      a last line of {} bytes without its end; the next start "
                    "sets it aside",
                    summary->torn_bytes));
  return 0;
}

void add_source(CLI::App& command, const std::shared_ptr<Words>& words) {
  command.add_option("NAME", words->name, "the VM (may be left out when there is only one)");
  command.add_option("--file", words->file,
                     "a log file, or a folder with audit.jsonl, instead of a VM's");
  command.add_flag("--json", words->as_json, "print JSON");
}

void add_tail(Commands& commands, CLI::App* parent) {
  CLI::App& command = commands.add("tail", "Show the newest records",
                                   "  pinhole audit tail web\n  pinhole audit tail -f -n 100 web\n"
                                   "  pinhole audit tail --file audit.jsonl --json | jq .url",
                                   parent);
  auto words = std::make_shared<Words>();
  add_source(command, words);
  command.add_option("-n,--lines", words->count, "how many")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command.add_flag("-f,--follow", words->follow, "go on as it grows");
  commands.on(command, [words] { return tail(*words); });
}

void add_query(Commands& commands, CLI::App* parent) {
  CLI::App& command =
      commands.add("query", "Show the records that match",
                   "  pinhole audit query web --action deny --since 2h\n"
                   "  pinhole audit query web --host '*.github.com' --method POST\n"
                   "  pinhole audit query --code ssrf_blocked --since 2026-11-23T10:00 --json",
                   parent);
  auto words = std::make_shared<Words>();
  add_source(command, words);
  command.add_option("--host", words->filter.host, "of the URL; *.example.com: whatever is below");
  command.add_option("--code", words->filter.code, "as in denied_by_policy");
  command.add_option("--rule", words->filter.rule, "as in pinhole.yaml:17, or default");
  command.add_option("--action", words->filter.action, "allow, deny, intercept, tunnel, raw");
  command.add_option("--method", words->filter.method, "as in GET");
  command.add_option("--since", words->since, "10m, 2h, 3d, or a time (UTC): 2026-11-23T10:00");
  command.add_option("--until", words->until, "the same; before it");
  command.add_option("--limit", words->limit, "the newest of them, at most")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  commands.on(command, [words] { return query(*words); });
}

void add_verify_chain(Commands& commands, CLI::App* parent) {
  CLI::App& command =
      commands.add("verify", "Check the chain of an audit log, over all its files",
                   "  pinhole audit verify web\n  pinhole audit verify --file ./audit.jsonl\n"
                   "  pinhole audit verify web --head 1207:$SHA256   # a head that you kept",
                   parent);
  auto words = std::make_shared<Words>();
  add_source(command, words);
  command.add_option("--head", words->head,
                     "SEQ:SHA256 of a record that must be in it, kept somewhere else");
  commands.on(command, [words] { return verify(*words); });
}

}  // namespace

void add_audit(Commands& commands) {
  CLI::App& command =
      commands.add("audit", "Look into what the door decided, and check that nothing is missing",
                   "  pinhole audit tail -f web\n  pinhole audit query web --action deny\n"
                   "  pinhole audit verify web");
  command.require_subcommand(1);
  add_tail(commands, &command);
  add_query(commands, &command);
  add_verify_chain(commands, &command);
}

}  // namespace pinhole::cli

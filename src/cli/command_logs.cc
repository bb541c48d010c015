// SPDX-License-Identifier: Apache-2.0
// pinhole logs.
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <fstream>

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

struct Words {
  std::string name;
  bool console = false, audit = false, supervisor = false, status = false, follow = false,
       raw = false;
};

/// Lines as they are complete; the guest's bytes never reach the terminal unescaped.
class LinePrinter {
 public:
  explicit LinePrinter(bool raw) : raw_(raw) {}
  void add(std::string_view bytes) {
    if (raw_) {
      open_ = print_raw(bytes) && open_;
      return;
    }
    constexpr std::size_t kLongestLine = 64 << 10;
    std::string lines;
    for (const char c : bytes) {
      if (c != '\n' && unfinished_.size() < kLongestLine) {
        unfinished_ += c;
        continue;
      }
      if (unfinished_.ends_with('\r')) unfinished_.pop_back();
      lines += printable(unfinished_) + '\n';
      unfinished_.clear();
      if (c != '\n') unfinished_ += c;
    }
    open_ = print_raw(lines) && open_;
  }
  /// What has no newline yet: often the very line that one is looking for.
  void finish() {
    if (!unfinished_.empty()) print_line(printable(unfinished_));
    unfinished_.clear();
  }
  /// Whether somebody still reads.
  [[nodiscard]] bool open() const { return open_; }

 private:
  bool raw_, open_ = true;
  std::string unfinished_;
};

void copy_rest(std::ifstream& file, LinePrinter& out) {
  std::array<char, 65536> chunk;
  file.clear();
  while (file.read(chunk.data(), chunk.size()), file.gcount() > 0)
    out.add({chunk.data(), static_cast<std::size_t>(file.gcount())});
}

/// Goes on with the file of that name, also when a full one was set aside for a fresh one.
Result<int> follow(const fs::path& path, std::ifstream& file, LinePrinter& out) {
  for (;;) {
    const Fd watch(::inotify_init1(IN_CLOEXEC));
    if (!watch || ::inotify_add_watch(watch.get(), path.c_str(),
                                      IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF) < 0) {
      return out.finish(), 0;  // removed with its VM
    }
    copy_rest(file, out);  // what came before the watch
    alignas(inotify_event) std::array<char, 4096> events;
    bool moved = false;
    while (!moved && out.open()) {
      const ssize_t n = ::read(watch.get(), events.data(), events.size());
      if (n <= 0) return 0;
      for (ssize_t at = 0; at < n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(events.data() + at);
        moved = moved || (event->mask & (IN_MOVE_SELF | IN_DELETE_SELF)) != 0;
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
      copy_rest(file, out);
    }
    if (!out.open()) return 0;
    file = std::ifstream(path, std::ios::binary);
  }
}

Result<int> show(const Words& words) {
  PINHOLE_TRY(const std::string name, name_or_only(words.name));
  PINHOLE_TRY(const Vm vm, find_vm(name));
  const fs::path path = words.console      ? vm.paths.console_log
                        : words.audit      ? vm.paths.audit_log
                        : words.supervisor ? vm.paths.supervisor_log
                                           : vm.paths.status_log;
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return fail(Error{.message = fmt::format("{} has no {} yet", name, path.filename().string()),
                      .fix = fmt::format("pinhole up {}", name)});
  LinePrinter out(words.raw);
  copy_rest(file, out);
  if (!words.follow) return out.finish(), 0;
  return follow(path, file, out);
}

}  // namespace

void add_logs(Commands& commands) {
  CLI::App& command = commands.add(
      "logs", "Show what became of a VM (status.log), or its console or audit log",
      "  pinhole logs web\n  pinhole logs --console -f web\n  pinhole logs --audit web | tail -1");
  auto words = std::make_shared<Words>();
  command.add_option("NAME", words->name, "the VM (may be left out when there is only one)");
  auto* console =
      command.add_flag("--console", words->console, "what the machine said on its console");
  auto* audit = command.add_flag("--audit", words->audit, "the door's decisions, as JSON lines");
  auto* supervisor =
      command.add_flag("--supervisor", words->supervisor, "what Pinhole's own processes said");
  auto* status = command.add_flag("--status", words->status, "states and stages (the default)");
  console->excludes(audit)->excludes(supervisor)->excludes(status);
  audit->excludes(supervisor)->excludes(status);
  supervisor->excludes(status);
  command.add_flag("-f,--follow", words->follow, "go on as it grows");
  command.add_flag("--raw", words->raw,
                   "the bytes as they are: the guest can act on your terminal");
  commands.on(command, [words] { return show(*words); });
}

}  // namespace pinhole::cli

// SPDX-License-Identifier: Apache-2.0
// pinhole up.
#include "cli/app.h"
#include "cli/launch_vm.h"
#include "cli/terminal.h"
#include "cli/vm_words.h"

namespace pinhole::cli {
namespace {

struct UpWords {
  std::string name;
  VmWords vm;
  std::vector<std::string> fetches;
  bool no_markers = false, reset_efi_vars = false, quiet = false;
};

Result<int> up(const UpWords& words) {
  PINHOLE_TRY(const std::string name, config::valid_vm_name(words.name));
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  PINHOLE_TRY(auto options, vm_options(words.vm, {}, paths));
  options.name = name;
  options.markers = !words.no_markers;
  options.reset_efi_vars = words.reset_efi_vars;
  options.fetches = words.fetches;
  PINHOLE_TRY(const Vm vm, launch_vm(paths, options, {.quiet = words.quiet}));
  print_line(fmt::format("{}: running", vm.name));
  return 0;
}

}  // namespace

void add_up(Commands& commands) {
  CLI::App& command =
      commands.add("up", "Start a VM, making it where it does not exist yet",
                   "  pinhole up web --workspace . --policy policy.yaml\n"
                   "  pinhole up web                   # again, with what ./pinhole.yaml says\n"
                   "  pinhole up test --disk my.raw --user-data seed.yaml");
  auto words = std::make_shared<UpWords>();
  command.add_option("NAME", words->name, "what to call it")->required();
  add_vm_words(command, words->vm);
  command
      .add_option("--disk", words->vm.disk,
                  "boot this raw disk instead of an image, and write to it")
      ->excludes(command.get_option("--image"));
  command.add_option("--user-data", words->vm.user_data,
                     "cloud-init user-data; a change makes the guest run it again");
  command.add_flag("--no-markers", words->no_markers,
                   "do not write boot-ok.txt and vsock-fetch.out into the workspace");
  command.add_option("--fetch", words->fetches,
                     "a URL that the guest fetches through the door as it boots");
  command.add_flag("--reset-efi-vars", words->reset_efi_vars,
                   "start with a fresh EFI variable store");
  command.add_flag("-q,--quiet", words->quiet, "no progress");
  commands.on(command, [words] { return up(*words); });
}

}  // namespace pinhole::cli

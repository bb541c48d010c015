// SPDX-License-Identifier: Apache-2.0
#include "preflight/authority.h"

#include "base/printable.h"
#include "base/strings.h"
#include "config/paths.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"

namespace pinhole::preflight {

Result<std::string> make_authority(const std::filesystem::path& folder, const std::string& vm) {
  constexpr std::chrono::seconds kLimit{30};
  constexpr std::uint64_t kLongestCertificate = 64 << 10;
  PINHOLE_TRY(const auto program, config::inner_program("pinhole-pep"));
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = program, .access = sys::Visible::Access::execute});
  view.paths.push_back({.path = "/etc/ssl/openssl.cnf", .optional = true});
  view.paths.push_back({.path = folder, .access = sys::Visible::Access::write});
  sys::Command command{.program = program,
                       .args = {"--create-authority", folder.string(), "--vm", vm},
                       .environment = {{"PATH", "/usr/bin:/bin"}}};
  PINHOLE_TRY(command.isolation, sys::available_here(sys::apart(std::move(view))));
  PINHOLE_TRY(const auto output, sys::run(std::move(command), {.time = kLimit}));
  if (!output.status.ok()) {
    return fail("cannot make the VM's certificate authority: pinhole-pep {}: {}",
                output.status.text(), printable(trim(output.err), 500));
  }
  return sys::read_file(folder / "ca.pem", kLongestCertificate);
}

}  // namespace pinhole::preflight

// SPDX-License-Identifier: Apache-2.0
#include "sys/confine_self.h"

#include <sys/prctl.h>

#include <cerrno>

#include "sys/landlock.h"
#include "sys/seccomp.h"

/// Of LeakSanitizer, where the build has it.
extern "C" __attribute__((weak)) void __lsan_do_leak_check();

namespace pinhole::sys {

Result<void> confine_self(FileView view) {
  for (Visible& path : runtime_libraries()) view.paths.push_back(std::move(path));
  // It looks for leaks by tracing this process, which will be refused.
  if (__lsan_do_leak_check != nullptr) __lsan_do_leak_check();
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail("cannot give up new privileges: {}", errno_text(errno));
  if (const char* failed = enter_landlock({.view = std::move(view)}); failed != nullptr)
    return fail("cannot confine this process: {}: {}", failed, errno_text(errno));
  if (const int error = load_spawn_filter(SpawnFilter::descriptors_only); error != 0)
    return fail("cannot load the system call filter: {}", errno_text(error));
  return {};
}

}  // namespace pinhole::sys

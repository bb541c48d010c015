# SPDX-License-Identifier: Apache-2.0
# pinhole_module(name DEPS other modules… LIBS external libraries… TEST_DEPS …)
#   src/name/*.cc       -> static library  pinhole_name
#   src/name/*_test.cc  -> test program    name_test (one ctest entry)
#   src/name/main.cc    -> left to pinhole_program()
# pinhole_program(target MODULE name [LIBEXEC])

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

option(PINHOLE_SANITIZE "build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(PINHOLE_FUZZ "build the libFuzzer targets" OFF)
option(PINHOLE_WERROR "treat warnings as errors" OFF)

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(GTest REQUIRED)
include(GoogleTest)
pkg_check_modules(NETTLE REQUIRED IMPORTED_TARGET nettle)

# Options structs are filled by name and leave the rest to their defaults; that is no omission.
set(PINHOLE_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Wnon-virtual-dtor
    -Wno-missing-field-initializers)
set(PINHOLE_DEFINITIONS _GLIBCXX_ASSERTIONS BOOST_ASIO_SEPARATE_COMPILATION
    BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY
    PINHOLE_VERSION="${PROJECT_VERSION}")

# Everything that only the host's programs get; the guest's agent is always built plain, so that
# its hash (part of an image's cache key) is the same in every preset.
add_library(pinhole_flags INTERFACE)
target_compile_options(pinhole_flags INTERFACE ${PINHOLE_WARNINGS}
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -fstack-protector-strong)
target_compile_definitions(pinhole_flags INTERFACE ${PINHOLE_DEFINITIONS})
target_include_directories(pinhole_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(pinhole_flags INTERFACE Threads::Threads)
if(PINHOLE_WERROR)
  target_compile_options(pinhole_flags INTERFACE -Werror)
endif()
if(PINHOLE_SANITIZE)
  target_compile_options(pinhole_flags INTERFACE -fsanitize=address,undefined
    -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(pinhole_flags INTERFACE -fsanitize=address,undefined)
endif()
if(PINHOLE_FUZZ)
  target_compile_options(pinhole_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

function(pinhole_module name)
  cmake_parse_arguments(ARG "" "" "DEPS;LIBS;TEST_DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  add_library(pinhole_${name} STATIC ${sources})
  list(TRANSFORM ARG_DEPS PREPEND pinhole_)
  list(TRANSFORM ARG_TEST_DEPS PREPEND pinhole_)
  target_link_libraries(pinhole_${name} PUBLIC pinhole_flags ${ARG_DEPS} ${ARG_LIBS})
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE pinhole_${name} ${ARG_TEST_DEPS} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE PINHOLE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME unit/${name} COMMAND ${name}_test)
    set_tests_properties(unit/${name} PROPERTIES TIMEOUT 300)
  endif()
endfunction()

function(pinhole_program target)
  cmake_parse_arguments(ARG "LIBEXEC" "MODULE" "" ${ARGN})
  add_executable(${target} ${CMAKE_CURRENT_SOURCE_DIR}/main.cc)
  target_link_libraries(${target} PRIVATE pinhole_${ARG_MODULE})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  if(ARG_LIBEXEC)
    install(TARGETS ${target} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/pinhole)
  else()
    install(TARGETS ${target} DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endfunction()

# SPDX-License-Identifier: MIT
# Flags that the worlds share, and the function that collects a folder's sources.
set(FARCALL_WORLD_FILE ${FARCALL_WORLD})
if(FARCALL_WORLD MATCHES "^(asan|tsan)$")
  set(FARCALL_WORLD_FILE host)
elseif(FARCALL_WORLD STREQUAL "debug")
  set(FARCALL_WORLD_FILE kernel)
  set(CMAKE_BUILD_TYPE Debug)
endif()

# Sources of the given folders (not recursive). CONFIGURE_DEPENDS: the next build finds new files.
function(farcall_sources OUT)
  set(all)
  foreach(folder IN LISTS ARGN)
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.cpp ${CMAKE_SOURCE_DIR}/${folder}/*.S)
    list(APPEND all ${found})
  endforeach()
  set(${OUT} ${all} PARENT_SCOPE)
endfunction()

set(FARCALL_WARNINGS -Wall -Wextra $<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety> -Wno-unused-parameter -Wno-missing-field-initializers -Werror)
# Code that runs without an operating system: no exceptions, no RTTI, no vector registers.
set(FARCALL_BARE_FLAGS
  -fno-exceptions -fno-rtti -fno-stack-protector -fno-threadsafe-statics -fno-asynchronous-unwind-tables
  -fno-unwind-tables -nostdlib -fno-pic -fno-pie -ffunction-sections -fdata-sections -g
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-invalid-offsetof>)

# farcall_precompile(TARGET): parses the standard library's headers once per target instead of once per file, which
# saves a third of the build time. Every file still includes what it uses.
function(farcall_precompile TARGET)
  target_precompile_headers(${TARGET} PRIVATE <array> <atomic> <bit> <compare> <concepts> <coroutine> <cstring> <iterator>
    <new> <optional> <source_location> <span> <string_view> <type_traits> <utility>)
  # Without its creation time, equal input produces an equal file, which a compiler cache can find.
  target_compile_options(${TARGET} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:SHELL:-Xclang -fno-pch-timestamp>)
  # This file defines memchr and other functions itself, with the types of C.
  set_source_files_properties(${CMAKE_SOURCE_DIR}/lib/bare/x86_64/string.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

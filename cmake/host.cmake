# SPDX-License-Identifier: MIT
# The host's side: the tool behind ./farcall, the QEMU plugins, and the unit tests over the hosted port. Worlds: host
# (everything), asan (unit tests under AddressSanitizer + UBSan), tsan (the tests with several threads).
find_package(Threads REQUIRED)

if(FARCALL_WORLD STREQUAL "host")
  file(GLOB CLI_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.cpp)
  add_executable(farcall-tool ${CLI_SOURCES})
  target_include_directories(farcall-tool PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(farcall-tool PRIVATE ${FARCALL_WARNINGS} -O1)
  target_link_libraries(farcall-tool PRIVATE Threads::Threads)
  target_precompile_headers(farcall-tool PRIVATE <algorithm> <cstdio> <map> <nlohmann/json.hpp> <set> <sstream> <string> <vector>)
  farcall_precompile(farcall-tool)
  target_compile_definitions(farcall-tool PRIVATE FARCALL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")

  foreach(PLUGIN count_plugin stretch_plugin miss_plugin turn_plugin)
    file(GLOB PLUGIN_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/${PLUGIN}/*.c ${CMAKE_SOURCE_DIR}/tools/${PLUGIN}/*.cpp)
    add_library(${PLUGIN} MODULE ${PLUGIN_SOURCES})
    target_include_directories(${PLUGIN} PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_options(${PLUGIN} PRIVATE -O2 -Wall -Wextra -Werror -ftls-model=initial-exec)
    set_target_properties(${PLUGIN} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  endforeach()

  add_executable(check_layers ${CMAKE_SOURCE_DIR}/tools/check_layers.cpp)
  target_compile_options(check_layers PRIVATE ${FARCALL_WARNINGS} -O1)
endif()

# Unit tests, over hal/hosted and port/hosted. unit_tests tests single parts and may restart the allocators;
# linux_unit_tests (tests/unit/linux_*.cpp) has one running system: root file system, first program, scripts. The tsan
# world builds only the files that use threads: rt_, mem_, hosted_, waist_, cache_, block_, file_disk and linux_*.cpp, and
# ext4_many_test.cpp. ./farcall installs
# GoogleTest only for `test`; the tool can be built without it.
find_package(GTest)
if(NOT GTest_FOUND AND NOT FARCALL_WORLD STREQUAL "host")
  message(FATAL_ERROR "GoogleTest is missing (Debian: libgtest-dev libgmock-dev)")
endif()
if(GTest_FOUND)
  add_library(hosted_options INTERFACE)
  target_include_directories(hosted_options INTERFACE ${CMAKE_SOURCE_DIR}
    ${CMAKE_SOURCE_DIR}/hal/hosted/include ${CMAKE_SOURCE_DIR}/port/hosted/include
    ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
  target_compile_definitions(hosted_options INTERFACE FARCALL_DEBUG=1 FARCALL_HOSTED=1)
  target_compile_options(hosted_options INTERFACE ${FARCALL_WARNINGS} -Wno-invalid-offsetof -O1 -g -fno-omit-frame-pointer)
  target_link_options(hosted_options INTERFACE -fuse-ld=lld)
  if(FARCALL_WORLD STREQUAL "asan")
    target_compile_options(hosted_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined)
    target_link_options(hosted_options INTERFACE -fsanitize=address,undefined)
  elseif(FARCALL_WORLD STREQUAL "tsan")
    target_compile_options(hosted_options INTERFACE -fsanitize=thread)
    target_link_options(hosted_options INTERFACE -fsanitize=thread)
  endif()

  farcall_sources(RUNTIME_SOURCES lib hal/hosted rt rt/mem rt/remote block port/hosted)
  # The host's operators are used instead, because sanitizers check those.
  list(FILTER RUNTIME_SOURCES EXCLUDE REGEX "/rt/mem/operators.cpp$")
  add_library(hosted_runtime STATIC ${RUNTIME_SOURCES})
  target_link_libraries(hosted_runtime PUBLIC hosted_options)
  farcall_precompile(hosted_runtime)
  farcall_sources(PERSONALITY_SOURCES elf fs linux linux/arch/x86_64 linux/exec linux/mm linux/procfs linux/signal linux/sys linux/task)
  add_library(hosted_personality STATIC EXCLUDE_FROM_ALL ${PERSONALITY_SOURCES})
  target_link_libraries(hosted_personality PUBLIC hosted_runtime)
  farcall_precompile(hosted_personality)

  if(FARCALL_WORLD STREQUAL "tsan")
    file(GLOB UNIT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*.cpp)
    list(FILTER UNIT_SOURCES INCLUDE REGEX "/tests/unit/(rt|mem|hosted|waist|cache|block|file_disk)[_.]")
    file(GLOB PERSONALITY_TESTS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/linux_*.cpp)
    set(EXT4_TESTS ${CMAKE_SOURCE_DIR}/tests/unit/ext4_many_test.cpp ${CMAKE_SOURCE_DIR}/tests/unit/ext4_support.cpp
      ${CMAKE_SOURCE_DIR}/tests/unit/ext4_world.cpp)
  else()
    file(GLOB UNIT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*.cpp)
    list(FILTER UNIT_SOURCES EXCLUDE REGEX "/tests/unit/(linux|ext4)_")
    file(GLOB EXT4_TESTS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/ext4_*.cpp)
    file(GLOB PERSONALITY_TESTS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/linux_*.cpp)
    list(APPEND UNIT_SOURCES ${CMAKE_SOURCE_DIR}/cli/bench_stats.cpp ${CMAKE_SOURCE_DIR}/cli/cpio.cpp
      ${CMAKE_SOURCE_DIR}/cli/diff.cpp ${CMAKE_SOURCE_DIR}/cli/elf_file.cpp ${CMAKE_SOURCE_DIR}/cli/elf_layout.cpp ${CMAKE_SOURCE_DIR}/cli/misses.cpp
      ${CMAKE_SOURCE_DIR}/cli/report.cpp ${CMAKE_SOURCE_DIR}/cli/report_sections.cpp ${CMAKE_SOURCE_DIR}/cli/stats.cpp ${CMAKE_SOURCE_DIR}/cli/trace.cpp
      ${CMAKE_SOURCE_DIR}/cli/trace_summary.cpp ${CMAKE_SOURCE_DIR}/cli/util.cpp
      ${CMAKE_SOURCE_DIR}/drivers/virtio.cpp ${CMAKE_SOURCE_DIR}/drivers/virtio_pci.cpp
      ${CMAKE_SOURCE_DIR}/drivers/virtio_chain.cpp ${CMAKE_SOURCE_DIR}/drivers/virtio_blk.cpp)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/cli/util.cpp PROPERTIES COMPILE_DEFINITIONS FARCALL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    include(cmake/vdso.cmake)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/tests/unit/vdso_test.cpp PROPERTIES
      COMPILE_DEFINITIONS VDSO_FILE="${VDSO_FILE}" OBJECT_DEPENDS ${VDSO_FILE})
  endif()
  function(unit_test_program NAME)
    add_executable(${NAME} ${ARGN})
    # The prelude must be the first of all headers.
    target_precompile_headers(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit/prelude.hpp <gtest/gtest.h>)
    farcall_precompile(${NAME})
    target_link_libraries(${NAME} PRIVATE hosted_runtime GTest::gmock GTest::gtest GTest::gtest_main Threads::Threads)
  endfunction()
  # The runtime again, over the machine that explores interleavings.
  if(FARCALL_WORLD STREQUAL "host")
    farcall_sources(EXPLORE_SOURCES lib hal/explore rt rt/mem rt/remote tests/explore)
    list(FILTER EXPLORE_SOURCES EXCLUDE REGEX "/rt/mem/operators.cpp$")
    add_executable(explore_tests ${EXPLORE_SOURCES})
    target_include_directories(explore_tests PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/hal/explore/include)
    target_compile_definitions(explore_tests PRIVATE FARCALL_DEBUG=1)
    target_compile_options(explore_tests PRIVATE ${FARCALL_WARNINGS} -Wno-invalid-offsetof -O2 -g)
    target_precompile_headers(explore_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests/unit/prelude.hpp)
    farcall_precompile(explore_tests)
    target_link_options(explore_tests PRIVATE -fuse-ld=lld)
    target_link_libraries(explore_tests PRIVATE GTest::gtest GTest::gtest_main Threads::Threads)
  endif()
  unit_test_program(unit_tests ${UNIT_SOURCES})
  target_link_libraries(unit_tests PRIVATE hosted_personality)
  # ext4_unit_tests (tests/unit/ext4_*.cpp): ext4/ over a disk in memory, and images of e2fsprogs.
  if(EXT4_TESTS)
    farcall_sources(EXT4_SOURCES ext4)
    unit_test_program(ext4_unit_tests ${EXT4_TESTS} ${EXT4_SOURCES})
  endif()
  if(PERSONALITY_TESTS)
    unit_test_program(linux_unit_tests ${PERSONALITY_TESTS})
    target_link_libraries(linux_unit_tests PRIVATE hosted_personality)
  endif()
endif()

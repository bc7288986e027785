# SPDX-License-Identifier: MIT
# The host's side: the tool behind ./farcall, the counting plugin, and the unit tests over the hosted port.
# Worlds: host (everything), asan (unit tests under AddressSanitizer + UBSan), tsan (the tests that cross threads).
find_package(Threads REQUIRED)

if(FARCALL_WORLD STREQUAL "host")
  file(GLOB CLI_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cli/*.cpp)
  add_executable(farcall-tool ${CLI_SOURCES})
  target_include_directories(farcall-tool PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_options(farcall-tool PRIVATE ${FARCALL_WARNINGS} -O1)
  target_compile_definitions(farcall-tool PRIVATE FARCALL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")

  file(GLOB PLUGIN_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/count_plugin/*.c)
  add_library(count_plugin MODULE ${PLUGIN_SOURCES})
  target_compile_options(count_plugin PRIVATE -O2 -Wall -Wextra -Werror)
  set_target_properties(count_plugin PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

  add_executable(check_layers ${CMAKE_SOURCE_DIR}/tools/check_layers.cpp)
  target_compile_options(check_layers PRIVATE ${FARCALL_WARNINGS} -O1)
endif()

# Unit tests: one program of all tests/unit/*.cpp with the placement-free code over hal/hosted and port/hosted.
# In the tsan world only the files named rt_*.cpp, mem_*.cpp and hosted_*.cpp are built: they are the ones with threads.
if(FARCALL_WORLD STREQUAL "tsan")
  file(GLOB UNIT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/rt_*.cpp ${CMAKE_SOURCE_DIR}/tests/unit/mem_*.cpp ${CMAKE_SOURCE_DIR}/tests/unit/hosted_*.cpp)
else()
  file(GLOB UNIT_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*.cpp)
endif()
# ./farcall installs GoogleTest for `test` only: without it the tool is built all the same.
find_package(GTest)
if(UNIT_SOURCES AND NOT GTest_FOUND AND NOT FARCALL_WORLD STREQUAL "host")
  message(FATAL_ERROR "GoogleTest is missing (Debian: libgtest-dev libgmock-dev)")
endif()
if(UNIT_SOURCES AND GTest_FOUND)
  set(HOSTED_FOLDERS lib hal/hosted rt rt/mem)
  # fs/ and linux/ are written against port/bind.hpp.
  if(EXISTS ${CMAKE_SOURCE_DIR}/port/hosted/include/port/bind.hpp)
    list(APPEND HOSTED_FOLDERS port/hosted elf fs linux linux/arch/x86_64 linux/mm linux/sys)
  endif()
  farcall_sources(HOSTED_SOURCES ${HOSTED_FOLDERS})
  list(FILTER HOSTED_SOURCES EXCLUDE REGEX "/rt/mem/operators.cpp$")  # the host's own serve, and sanitizers watch them
  if(NOT FARCALL_WORLD STREQUAL "tsan")
    list(APPEND UNIT_SOURCES ${CMAKE_SOURCE_DIR}/cli/cpio.cpp ${CMAKE_SOURCE_DIR}/cli/diff.cpp ${CMAKE_SOURCE_DIR}/cli/util.cpp)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/cli/util.cpp PROPERTIES COMPILE_DEFINITIONS FARCALL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  endif()
  add_executable(unit_tests ${UNIT_SOURCES} ${HOSTED_SOURCES})
  target_include_directories(unit_tests PRIVATE ${CMAKE_SOURCE_DIR}
    ${CMAKE_SOURCE_DIR}/hal/hosted/include ${CMAKE_SOURCE_DIR}/port/hosted/include
    ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
  target_compile_definitions(unit_tests PRIVATE FARCALL_DEBUG=1 FARCALL_HOSTED=1)
  target_compile_options(unit_tests PRIVATE ${FARCALL_WARNINGS} -O1 -g -fno-omit-frame-pointer
    -include ${CMAKE_SOURCE_DIR}/tests/unit/prelude.hpp)
  target_link_options(unit_tests PRIVATE -fuse-ld=lld)
  target_link_libraries(unit_tests PRIVATE GTest::gmock GTest::gtest GTest::gtest_main Threads::Threads)
  if(FARCALL_WORLD STREQUAL "asan")
    target_compile_options(unit_tests PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=undefined)
    target_link_options(unit_tests PRIVATE -fsanitize=address,undefined)
  elseif(FARCALL_WORLD STREQUAL "tsan")
    target_compile_options(unit_tests PRIVATE -fsanitize=thread)
    target_link_options(unit_tests PRIVATE -fsanitize=thread)
  endif()
endif()

# SPDX-License-Identifier: MIT
# The Linux personality as a user-level server: the rt/, fs/ and linux/ of the kernel, over hal/user and port/server. There are
# two, as of the kernel: linux-server, and linux-server-test with hooks for tests (tests/server).
farcall_sources(SERVER_SOURCES
  lib lib/bare/x86_64 hal/user rt rt/mem rt/remote port/server elf block ext4 fs linux linux/arch/x86_64 linux/exec linux/mm linux/procfs linux/signal linux/sys linux/task servers/linux)
list(APPEND SERVER_SOURCES ${CMAKE_SOURCE_DIR}/hal/x86_64/registers.cpp)
farcall_sources(SHIPPED_SOURCES servers/shipped)
farcall_sources(TEST_SOURCES tests/server)
include(cmake/vdso.cmake)
add_library(server_options INTERFACE)
target_include_directories(server_options INTERFACE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/hal/user/include ${CMAKE_SOURCE_DIR}/port/server/include ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
target_compile_options(server_options INTERFACE ${FARCALL_BARE_FLAGS} ${FARCALL_WARNINGS} -O2 -mno-red-zone -mno-sse -mno-mmx
  -mno-avx -fno-omit-frame-pointer)
# An address of its own: no program of its clients has code there, so addresses tell whose it is (tools/count_plugin).
target_link_options(server_options INTERFACE -nostdlib -static -no-pie -fuse-ld=lld -Wl,--gc-sections -Wl,-z,max-page-size=4096
  -Wl,-z,separate-loadable-segments -Wl,--image-base=0x60000000 -Wl,--build-id=none)

add_library(server_shared OBJECT ${SERVER_SOURCES} ${VDSO_IMAGE})
target_link_libraries(server_shared PRIVATE server_options)
farcall_precompile(server_shared)
function(server_image NAME)
  add_executable(${NAME} ${ARGN})
  target_link_libraries(${NAME} PRIVATE server_options server_shared)
endfunction()
server_image(linux-server ${SHIPPED_SOURCES})
server_image(linux-server-test ${TEST_SOURCES})

# cmake -D DIRECTORY=... -D REGISTERED=... -P: fails with the names of the *_test.cc files under DIRECTORY that the file
# REGISTERED, one path a line, does not list.
file(STRINGS ${REGISTERED} registered)
file(GLOB_RECURSE sources ${DIRECTORY}/*_test.cc)
list(REMOVE_ITEM sources ${registered})
list(LENGTH sources count)
foreach(source ${sources})
  cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${DIRECTORY})
  message(NOTICE "not registered: ${source}")
endforeach()
if(count GREATER 0)
  message(FATAL_ERROR "${count} test sources belong to no crashgate_test()")
endif()
